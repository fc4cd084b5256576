"""Ids, masks and type ids are those of transformers, and of sentence-transformers, string for string."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from QEfficient import sentence_repo
from QEfficient.records import Json
from QEfficient.text.facts import copy_preprocessing, read_facts, write_tokenizer
from QEfficient.text.tokenizer import Text, Tokenizer, Tokens
from tests import real_text
from tests.text.conftest import FAMILIES, Family, wordpiece
from tests.tiny_repo import tiny_repo

# Strings that tokenizers treat in a way of their own.
PIECES = [
    *"[SEP] [CLS] [MASK] [UNK] [PAD] [sep] <s> </s> <pad> <mask> <unk> ##ing ▁ Ġ İ ß ſ Σς ǅ ﬁ ½ Ⅷ".split(),
    *"한국어 한 日本語 中文 العربية עברית हिन्दी ไทย 😀 👍🏽 🇩🇪 don't U.S.A. www.example.com 3.14 1,000 — … « »".split(),
    *("\u00a0", "\u200b", "\u200d", "\ufeff", "\x00", "\x1f", "\u0301", "e\u0301", "é", "👨\u200d👩\u200d👧"),
]
text = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from([*PIECES, "word", "Longer-Words", " ", "\n", "\t", "\r\n"]), max_size=40).map(" ".join),
    st.text(st.sampled_from("ab ."), max_size=200),
)
pair = st.tuples(text, text)


def expect(tokens: Tokens, theirs: Any) -> None:
    """The rows equal an encoding of transformers that was not padded."""
    columns = tokens.rows.columns
    assert [row.tolist() for row in columns["input_ids"]] == theirs["input_ids"]
    assert [row.tolist() for row in columns["attention_mask"]] == theirs["attention_mask"]
    types = theirs.get("token_type_ids", [[0] * len(row) for row in theirs["input_ids"]])
    assert [row.tolist() for row in columns["token_type_ids"]] == types
    assert all(row.dtype == np.int64 for rows in columns.values() for row in rows)
    assert tokens.rows.width == max(map(len, theirs["input_ids"]), default=0)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(text | pair, min_size=1, max_size=30), limit=st.integers(5, 64))
@example(texts=["", " ", "\n", "[SEP]", "a " * 500, ("", ""), ("a", ""), ("a " * 99, "b " * 98)], limit=8)
def test_truncated_rows(families: dict[str, Family], name: str, texts: list[Text], limit: int) -> None:
    family = families[name]
    whole = family.theirs(texts)["input_ids"]
    tokens = family.ours.encode(texts, max_length=limit)
    expect(tokens, family.theirs(texts, truncation=True, max_length=limit))
    assert tokens.overlong == tuple(i for i, row in enumerate(whole) if len(row) > limit)
    assert tokens.owners is None


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(text, min_size=1, max_size=20), limit=st.integers(5, 40))
@example(texts=["a " * 300, "", "b"], limit=5)
def test_chunks(families: dict[str, Family], name: str, texts: list[str], limit: int) -> None:
    family = families[name]
    tokens = family.ours.encode(texts, max_length=limit, overlong="chunk")
    theirs = family.theirs(texts, truncation=True, max_length=limit, return_overflowing_tokens=True, stride=0)
    assert list(tokens.owners or ()) == theirs.pop("overflow_to_sample_mapping")
    expect(tokens, theirs)
    owners = list(tokens.owners or ())
    assert tokens.overlong == tuple(sorted({i for i in owners if owners.count(i) > 1}))


LONG: list[Text] = [
    *PIECES,
    " ".join(PIECES),
    ("", "a " * 30),
    ("One two three four five " * 9, "six seven " * 4),
    ("a b c d", "e f g h " * 9),
    ("[SEP] a <s> " * 5, "[MASK] </s> b " * 5),
]


def told(family: Family, tmp_path: Path, place: str, **settings: Json) -> tuple[Tokenizer, Any]:
    """The family's tokenizer with other settings, ours and transformers': in its config, in its file, or by keyword."""
    from transformers import AutoTokenizer

    folder, program = tmp_path / "model", tmp_path / "program"
    shutil.copytree(family.folder, folder)
    program.mkdir()
    keywords = settings if place == "keywords" else {}
    if place == "config":
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | settings))
    elif place == "file":
        content = json.loads((folder / "tokenizer.json").read_text())
        content["truncation"] = {"direction": "Left", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
        (folder / "tokenizer.json").write_text(json.dumps(content))
    assert write_tokenizer(folder, program, keywords) == "tokenizer.json"
    facts = read_facts(folder, max_positions=64)
    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True, **keywords)
    return Tokenizer.from_folder(program, replace(facts, tokenizer="tokenizer.json")), theirs


@pytest.mark.parametrize("place", ["config", "file", "keywords"])
def test_texts_that_are_shortened_at_their_start(family: Family, tmp_path: Path, place: str) -> None:
    ours, theirs = told(family, tmp_path, place, truncation_side="left")
    assert theirs.truncation_side == "left"
    for limit in (5, 8, 13, 64):
        expect(ours.encode(LONG, max_length=limit), theirs(LONG, truncation=True, max_length=limit))
    singles = [text for text in LONG if isinstance(text, str)]
    windows = ours.encode(singles, max_length=7, overlong="chunk")
    theirs.truncation_side = "right"  # windows hold all of a text, so the side decides nothing
    found = theirs(singles, truncation=True, max_length=7, return_overflowing_tokens=True, stride=0)
    owners = found.pop("overflow_to_sample_mapping")
    rows = [row.tolist() for row in windows.rows.columns["input_ids"]]
    assert sorted(zip(windows.owners or (), rows, strict=True)) == sorted(zip(owners, found["input_ids"], strict=True))
    whole = [id for row, owner in zip(rows, windows.owners or (), strict=True) if owner == len(PIECES) for id in row]
    special = set(theirs.all_special_ids)
    assert [id for id in whole if id not in special] == [
        id for id in theirs(singles[-1])["input_ids"] if id not in special
    ]


@pytest.mark.parametrize("place", ["config", "keywords"])
def test_special_tokens_that_are_split(family: Family, tmp_path: Path, place: str) -> None:
    ours, theirs = told(family, tmp_path, place, split_special_tokens=True)
    assert theirs.split_special_tokens
    for limit in (9, 64):
        expect(ours.encode(LONG, max_length=limit), theirs(LONG, truncation=True, max_length=limit))
    usual = family.theirs(LONG, truncation=True, max_length=64)
    assert [row.tolist() for row in ours.encode(LONG).rows.columns["input_ids"]] != usual["input_ids"]
    for prompt in ("query: ", "[SEP]", "x <s>"):
        ids = theirs(prompt)["input_ids"]
        assert ours.prompt_length(prompt) == len(ids) - (ids[-1] in theirs.all_special_ids)


def test_real_text(family: Family) -> None:
    texts = [*real_text.snippets(2000), *real_text.articles()]
    expect(family.ours.encode(texts), family.theirs(texts, truncation=True, max_length=family.ours.facts.max_length))


def test_no_texts(family: Family) -> None:
    tokens = family.ours.encode([])
    assert (len(tokens.rows), tokens.rows.width, tokens.overlong) == (0, 0, ())


@pytest.mark.parametrize("lower_case", [False, True])
@pytest.mark.parametrize("prompt", ["", "Query: ", "[SEP]"])
def test_sentence_transformers(tmp_path: Path, lower_case: bool, prompt: str) -> None:
    """A cased tokenizer, so that lower-casing is the repo's doing."""
    from sentence_transformers import SentenceTransformer

    folder = tiny_repo(tmp_path / "repo", dim=8, layers=1)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"do_lower_case": False, "strip_accents": False}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": lower_case}))
    repo = sentence_repo.read(folder)
    assert write_tokenizer(folder, tmp_path) == "tokenizer.json"
    ours = Tokenizer.from_folder(tmp_path, read_facts(folder, repo=repo, max_positions=64))
    texts: list[Text] = [
        "",
        "  Spaces  around ",
        "The [SEP] and [sep] of É İSTANBUL",
        *PIECES,
        ("Two", "Parts"),
        "W " * 99,
    ]
    tokens = ours.encode(texts, prompt=prompt)
    theirs = SentenceTransformer(str(folder), device="cpu")
    for i, one in enumerate(texts):
        features = theirs.preprocess([one], prompt=prompt or None)
        for column, rows in tokens.rows.columns.items():
            assert rows[i].tolist() == features[column][0].tolist(), one
    if prompt:
        assert ours.prompt_length(prompt) == features["prompt_length"]


def test_the_file_of_the_real_minilm_would_shorten_to_128(families: dict[str, Family]) -> None:
    """What the program's own file is for: the repo's file cuts at 128 tokens and pads to 128."""
    from tokenizers import Tokenizer as FastTokenizer

    folder = families["wordpiece"].folder
    raw = FastTokenizer.from_file(str(folder / "tokenizer.json"))
    assert len(raw.encode("word " * 300).ids) == len(raw.encode("word").ids) == 128
    facts = read_facts(folder, max_positions=512)
    assert Tokenizer.from_folder(folder, facts).encode(["word " * 300, "word"]).rows.lengths == (302, 3)


def test_a_tokenizer_without_a_fast_file_is_converted(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    wordpiece(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    facts = read_facts(tmp_path, max_positions=64)
    assert (facts.tokenizer, facts.pad_id) == (None, 0)
    (tmp_path / "program").mkdir()
    assert write_tokenizer(tmp_path, tmp_path / "program") == "tokenizer.json"
    facts = read_facts(tmp_path / "program", max_positions=64)
    texts = ["Hello, world", "[SEP] " + "many words " * 60]
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    expect(
        Tokenizer.from_folder(tmp_path / "program", facts).encode(texts), theirs(texts, truncation=True, max_length=64)
    )


@pytest.mark.parametrize("json_file", [True, False])
def test_transformers_reads_the_same_tokenizer_from_a_program(tmp_path: Path, family: Family, json_file: bool) -> None:
    from transformers import AutoTokenizer

    folder, program = tmp_path / "model", tmp_path / "program"
    shutil.copytree(family.folder, folder)
    if not json_file and (folder / "vocab.txt").is_file():
        (folder / "tokenizer.json").unlink()  # only the vocabulary is left, as in repos of old
    program.mkdir()
    write_tokenizer(folder, program)
    copy_preprocessing(folder, program)
    shutil.copy(folder / "config.json", program)
    theirs = AutoTokenizer.from_pretrained(program, local_files_only=True)
    assert type(theirs) is type(family.theirs)
    texts = [*PIECES, " ".join(PIECES), "", *real_text.snippets(300)]
    for kept in ({}, {"truncation": True, "max_length": 16, "padding": True}):
        assert dict(theirs(texts, **kept)) == dict(family.theirs(texts, **kept))
        assert dict(theirs(texts, texts[::-1], **kept)) == dict(family.theirs(texts, texts[::-1], **kept))
