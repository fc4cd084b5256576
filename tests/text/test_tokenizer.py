"""What ``encode`` refuses, and that it may be called from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, pre_tokenizers

from QEfficient.errors import InputError, LoadError
from QEfficient.records import TextFacts
from QEfficient.text.tokenizer import Tokenizer
from tests import real_text
from tests.text.conftest import Family


@pytest.fixture
def tokenizer(families: dict[str, Family]) -> Tokenizer:
    return families["wordpiece"].ours


def refusal(tokenizer: Tokenizer, texts: Any, **keywords: Any) -> str:
    with pytest.raises(InputError) as caught:
        tokenizer.encode(texts, **keywords)
    error = caught.value
    assert error.got is not None and error.allowed and error.do
    str(error).encode()  # an error can always be printed
    return str(error)


def test_an_overlong_text_is_refused_with_both_numbers(tokenizer: Tokenizer) -> None:
    message = refusal(tokenizer, ["short", "a " * 80, "b " * 62], max_length=16, overlong="error")
    assert "2 of 3 texts are longer than 16 tokens" in message
    assert "text 1 has 82 tokens, text 2 has 64 tokens" in message
    assert tokenizer.encode(["a " * 14], max_length=16, overlong="error").rows.lengths == (16,)


def test_chunks_of_a_long_text_hold_all_of_it(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(["a b c d e f g", "a"], max_length=5, overlong="chunk")
    assert tokens.owners == (0, 0, 0, 1)
    assert tokens.overlong == (0,)
    ids = tokens.rows.columns["input_ids"]
    assert {(row[0], row[-1]) for row in ids} == {(101, 102)}
    whole = tokenizer.encode(["a b c d e f g"]).rows.columns["input_ids"][0]
    assert np.concatenate([row[1:-1] for row in ids[:3]]).tolist() == whole[1:-1].tolist()


@pytest.mark.parametrize("limit", [0, -1, 2, 65, 8.0, True, "8"])
def test_max_length_out_of_range(tokenizer: Tokenizer, limit: Any) -> None:
    assert "3 (the special tokens and one more) to 64" in refusal(tokenizer, ["a"], max_length=limit)


def test_max_length_of_a_pair_leaves_room_for_its_special_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode([("a b", "c d")], max_length=4).rows.lengths == (4,)
    assert "4 (the" in refusal(tokenizer, [("a", "b")], max_length=3)


def test_an_unknown_way_with_long_texts(tokenizer: Tokenizer) -> None:
    assert "'truncate', 'error' or 'chunk'" in refusal(tokenizer, ["a"], overlong="cut")
    assert "pairs of texts" in refusal(tokenizer, [("a", "b")], overlong="chunk")


@pytest.mark.parametrize("texts", ["a string", 3, None, {"a": 1}, {"a"}])
def test_texts_that_are_no_list(tokenizer: Tokenizer, texts: Any) -> None:
    assert "not a list" in refusal(tokenizer, texts)


@pytest.mark.parametrize("item", [None, 3, b"a", ("a",), ("a", 3), ("a", "b", "c"), ["a", None]])
def test_an_item_that_is_no_text_is_named(tokenizer: Tokenizer, item: Any) -> None:
    assert "Item 1" in refusal(tokenizer, ["a", item])


def test_a_prompt_that_is_no_string(tokenizer: Tokenizer) -> None:
    assert "prompt" in refusal(tokenizer, ["a"], prompt=None)


@pytest.mark.parametrize("item", ["a\ud800b", ("a", "\udfff")])
def test_half_a_surrogate_pair_is_named(tokenizer: Tokenizer, item: Any) -> None:
    assert "Text 2 is not valid Unicode" in refusal(tokenizer, ["a", "b", item])
    assert "Text 0 is not valid Unicode" in refusal(tokenizer, [item])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_a_text_alone_is_the_same_row(families: dict[str, Family], text: str) -> None:
    for family in families.values():
        one, two = (family.ours.encode([f"a {text}", "c"][:count]).rows for count in (1, 2))
        assert all(np.array_equal(column[0], two.columns[name][0]) for name, column in one.columns.items())


def test_other_sequences_of_texts(tokenizer: Tokenizer) -> None:
    expected = tokenizer.encode(["a b", "c"]).rows.lengths
    assert tokenizer.encode(("a b", "c")).rows.lengths == expected
    assert tokenizer.encode(np.array(["a b", "c"])).rows.lengths == expected  # type: ignore[arg-type]
    pairs: Any = [["a b", "c"]]
    assert tokenizer.encode(pairs).rows.lengths == (6,)


def test_a_text_without_tokens_is_refused_and_named() -> None:
    backend = FastTokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer = Tokenizer(backend, TextFacts("tokenizer.json", 8))
    assert tokenizer.encode(["a a", "b"]).rows.lengths == (2, 1)
    message = refusal(tokenizer, ["a", "", " ", "b"])
    assert "2 of 4 texts give no token: text 1, 2" in message


def test_many_threads_with_different_limits(tokenizer: Tokenizer) -> None:
    texts = real_text.articles()[:8]
    limits = [8, 16, 32, 64] * 8
    expected = {limit: tokenizer.encode(texts, max_length=limit).rows.lengths for limit in limits}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda limit: tokenizer.encode(texts, max_length=limit).rows.lengths, limits))
    assert found == [expected[limit] for limit in limits]


def test_prompts_stand_before_the_string_and_before_the_first_of_a_pair(tokenizer: Tokenizer) -> None:
    with_prompt = tokenizer.encode(["c", ("c", "d")], prompt="a b ").rows.columns["input_ids"]
    without = tokenizer.encode(["a b c", ("a b c", "d")]).rows.columns["input_ids"]
    assert [row.tolist() for row in with_prompt] == [row.tolist() for row in without]
    assert tokenizer.prompt_length("a b ") == 3


def test_lower_casing_is_added_once(families: dict[str, Family]) -> None:
    family = families["bpe"]
    facts = replace(family.ours.facts, lower_case=True)
    lowered = Tokenizer(FastTokenizer.from_str(family.theirs.backend_tokenizer.to_str()), facts)
    again = Tokenizer(FastTokenizer.from_str(lowered._backend.to_str()), facts)
    assert again._backend.to_str() == lowered._backend.to_str()
    upper = lowered.encode(["THE Fox <s>"]).rows.columns["input_ids"][0]
    lower = family.ours.encode(["the fox <s>"]).rows.columns["input_ids"][0]
    assert upper.tolist() == lower.tolist()


def test_a_program_that_takes_ids_only(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="takes ids only"):
        Tokenizer.from_folder(tmp_path, TextFacts(None, 8))


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_tokenizer_file_that_is_missing_or_broken(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(LoadError, match="can't be read") as caught:
        Tokenizer.from_folder(tmp_path, TextFacts("tokenizer.json", 8))
    assert caught.value.__cause__ is not None
