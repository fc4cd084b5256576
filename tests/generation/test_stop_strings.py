"""Stop strings: where a text is cut, and which token completes one."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from transformers import PreTrainedTokenizerFast, StopStringCriteria

from QEfficient.errors import InputError
from QEfficient.text.stopping import StopText, StopTokens
from QEfficient.text.streaming import TextStream
from tests.generation.tokenizer_kinds import KINDS, fast, ours, texts


def cut(strings: list[str], pieces: list[str]) -> tuple[list[str], str | None]:
    stop = StopText(strings)
    return [*map(stop.put, pieces), stop.end()], stop.found


def first_end(text: str, strings: list[str]) -> str:
    """The rule, said again the slow way: character by character."""
    for end in range(len(text) + 1):
        found = [word for word in strings if text[:end].endswith(word)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@given(
    st.lists(st.text("abc", max_size=5), max_size=8),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_where_a_text_is_cut_does_not_depend_on_its_pieces(pieces: list[str], strings: list[str]) -> None:
    text = "".join(pieces)
    for some in (pieces, list(text), [text]):
        written, found = cut(strings, some)
        assert "".join(written) == first_end(text, strings)
        assert (found is not None) == any(word in text for word in strings)


@given(st.lists(st.text("ab\n", max_size=4), max_size=8), st.text("ab\n", min_size=1, max_size=4))
def test_nothing_is_held_longer_than_it_may_matter(pieces: list[str], word: str) -> None:
    stop, text, written = StopText(word), "", ""
    for piece in pieces:
        text, written = text + piece, written + stop.put(piece)
        if stop.found:
            break
        held = text[len(written) :]
        assert word.startswith(held)  # all that is held back is the beginning of a stop string


def test_a_stop_string_across_three_tokens() -> None:
    assert cut(["</end>"], ["a <", "/", "b </", "en", "d> c", "d"]) == (["a ", "", "</b ", "", "", "", ""], "</end>")
    assert cut(["stop"], ["a sto", "p"[:0]]) == (["a ", "", "sto"], None)


@pytest.mark.parametrize("strings", [[""], ["a", ""], [3], [None], [b"a"]])
def test_what_is_no_stop_string(strings: Any) -> None:
    with pytest.raises(InputError, match="stop string"):
        StopText(strings)
    with pytest.raises(InputError, match="stop string"):
        StopTokens(ours("byte_level"), strings)


def cases(kind: str, seed: int, count: int) -> list[tuple[list[int], list[str]]]:
    """Ids with stop strings that are often in their text, at any place."""
    random, some, tokenizer = Random(seed), texts(2000), ours(kind)
    found = []
    for _ in range(count):
        ids = tokenizer.ids(random.choice(some))[:40] + [random.randrange(2000) for _ in range(6)]
        ids += tokenizer.ids(random.choice(some))[:40]
        whole = tokenizer.decode(ids)
        starts = [random.randrange(len(whole)) for _ in range(random.randrange(1, 4))]
        found.append((ids, [whole[start : start + random.randrange(1, 9)] for start in starts]))
    return found


def compare(kind: str, seed: int, count: int) -> int:
    """Runs both over the cases; how often transformers says stop."""
    theirs = PreTrainedTokenizerFast(tokenizer_object=FastTokenizer.from_str(fast(kind).to_str()))
    tokenizer = ours(kind)
    hits = 0
    for ids, strings in cases(kind, seed, count):
        try:
            criteria = StopStringCriteria(theirs, strings)
        except ValueError:  # no token of its vocabulary ends one of them
            continue
        begun = len(ids) % 3
        stop = StopTokens(tokenizer, strings, ids[:begun])
        for end in range(begun, len(ids)):
            expected = bool(criteria(torch.tensor([ids[: end + 1]]), None)[0])  # type: ignore[arg-type]
            assert stop(np.array(ids[begun : end + 1])) == expected, (
                strings,
                [tokenizer.token(one) for one in ids[: end + 1]][-8:],
            )
            hits += expected
    return hits


DECODED = [kind for kind in KINDS if kind != "words"]  # transformers' needs a decoder


@pytest.mark.parametrize("kind", DECODED)
def test_the_token_that_transformers_stops_at(kind: str) -> None:
    assert compare(kind, seed=1, count=4) > 3


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("kind", DECODED)
def test_the_token_that_transformers_stops_at_often(kind: str, seed: int) -> None:
    assert compare(kind, seed, count=12) > 3


def test_a_stop_string_of_a_special_token() -> None:
    tokenizer = ours("byte_level")
    ids = tokenizer.ids("hello<|im_end|>\nmore", add_special_tokens=False)
    stop = StopTokens(tokenizer, "<|im_end|>\n")
    end = [stop(ids[: i + 1]) for i in range(len(ids))].index(True)
    assert tokenizer.decode(ids[: end + 1]) == "hello<|im_end|>\n"
    assert stop.found(ids[: end + 1]) == "<|im_end|>\n"
    assert not stop([])
    assert not StopTokens(tokenizer, "o<|im", ids[:end])(ids[end : end + 1])  # it ended in the prompt
    assert StopTokens(tokenizer, "|>\n", ids[:end])(ids[end : end + 1])  # begun in the prompt


def test_a_stream_cut_before_a_stop_string() -> None:
    tokenizer = ours("byte_level")
    ids = tokenizer.ids("日本語 の text\n\nUser: more", add_special_tokens=False)
    stream, stop = TextStream(tokenizer), StopText(["\nUser:"])
    pieces = [stop.put(piece) for piece in stream.pieces(ids)] + [stop.end()]
    assert "".join(pieces) == "日本語 の text\n"
