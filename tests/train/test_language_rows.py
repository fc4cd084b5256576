"""Rows of language models: read from anything, and as tokens of which only those count that are to be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from datasets import Dataset

from QEfficient.errors import InputError, OptionError, QEfficientError, UsageError
from QEfficient.train.language import fine_tune_causal, fine_tune_seq2seq
from QEfficient.train.language_features import LanguageReader
from QEfficient.train.language_rows import CAUSAL, SEQ2SEQ, read_language_rows
from QEfficient.train.request import parse_request
from tests.train import language_models as small

IGNORED = -100
PAIRS = [("what is", "one two"), ("red cats", "three")]


def test_rows_are_read_from_anything(tmp_path: Path) -> None:
    named = [{"instruction": prompt, "response": completion} for prompt, completion in PAIRS]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, named)))
    frame = pandas.DataFrame(named)
    sources: list[Any] = [PAIRS, named, frame, Dataset.from_list(named), tmp_path / "rows.jsonl"]
    found = [read_language_rows(data, CAUSAL) for data in sources]
    assert {one.digest for one in found} == {found[0].digest}
    assert found[0].columns == {"prompt": ["what is", "red cats"], "completion": ["one two", "three"]}
    assert read_language_rows(frame, SEQ2SEQ, {"source": "instruction", "target": "response"}).columns["target"] == [
        "one two",
        "three",
    ]
    assert read_language_rows(iter(["a", "b"]), CAUSAL).columns == {"text": ["a", "b"]}
    assert read_language_rows({"text": ["a"], "prompt": ["b"]}, CAUSAL).columns == {"text": ["a"]}
    assert read_language_rows(found[0], CAUSAL) is found[0]


def test_chats_are_read_from_frames_and_files(tmp_path: Path) -> None:
    chats = small.chats().columns["messages"]
    (tmp_path / "chats.jsonl").write_text("\n".join(json.dumps({"messages": chat}) for chat in chats))
    for data in ({"messages": chats}, Dataset.from_dict({"messages": chats}), tmp_path / "chats.jsonl"):
        assert read_language_rows(data, CAUSAL).digest == small.chats().digest


@pytest.mark.parametrize(
    ("data", "task", "said"),
    [
        ([("what", "one"), ("is", "")], CAUSAL, "completion.*row 1"),
        ([("what", "one"), ("is", None)], CAUSAL, "completion.*row 1"),
        ([("what", 3)], SEQ2SEQ, "target.*row 0"),
        (["what", 3], CAUSAL, "3"),
        (["what", " "], CAUSAL, "text.*row 1"),
        ([], CAUSAL, "no rows"),
        ([{"prompt": "what"}], CAUSAL, "has not the columns"),
        ([{"source": "what"}], SEQ2SEQ, "target"),
        ({"messages": [[{"role": "user"}]]}, CAUSAL, "are no chat"),
        ({"messages": [[]]}, CAUSAL, "are no chat"),
        ("nowhere.jsonl", CAUSAL, "no file"),
        ([("a", "b")], "summarization", "task"),
    ],
)
def test_bad_rows_are_refused(data: object, task: str, said: str) -> None:
    with pytest.raises(QEfficientError, match=f"(?s){said}"):
        read_language_rows(data, task)


def test_rows_are_for_one_task() -> None:
    with pytest.raises(InputError, match="were read for text-generation"):
        read_language_rows(small.completions(), SEQ2SEQ)
    with pytest.raises(InputError, match="not for text-generation"):
        fine_tune_causal(small.model("gpt2"), small.tokenizer(), small.targets())


def test_the_completion_and_its_end_count() -> None:
    reader = LanguageReader(small.tokenizer(), None)
    [first, _] = reader.causal(read_language_rows(PAIRS, CAUSAL), "training")
    assert first == {"input_ids": [4, 5, 13, 14, 1], "labels": [IGNORED, IGNORED, 13, 14, 1]}
    ends = LanguageReader(small.tokenizer(ends=True), None)  # it puts an end behind the prompt too
    assert ends.causal(read_language_rows(PAIRS, CAUSAL), "training")[0] == first


def test_a_long_text_becomes_rows_that_write_every_token_once() -> None:
    text = " ".join(small.WORDS)
    parts = LanguageReader(small.tokenizer(), 6).causal(read_language_rows([text, "what"], CAUSAL), "training")
    whole = [*range(4, 4 + len(small.WORDS)), 1]
    assert all(len(part["input_ids"]) <= 6 for part in parts)
    assert [label for part in parts[:-1] for label in part["labels"] if label != IGNORED] == whole[1:]
    for one, other in zip(parts[:-1], parts[1:-1], strict=False):
        assert other["input_ids"][0] == one["input_ids"][-1]
    assert parts[-1] == {"input_ids": [4, 1], "labels": [IGNORED, 1]}


def test_of_a_chat_the_assistants_tokens_count() -> None:
    tokenizer = small.tokenizer()
    tokenizer.chat_template = small.CHAT
    chat = [
        {"role": "user", "content": "what is"},
        {"role": "assistant", "content": "one two"},
        {"role": "user", "content": "red"},
        {"role": "assistant", "content": "six"},
    ]
    [found] = LanguageReader(tokenizer, None).causal(read_language_rows({"messages": [chat]}, CAUSAL), "training")
    assert found["input_ids"] == [3, 4, 5, 13, 14, 1, 3, 7, 18, 1]
    assert [label for label in found["labels"] if label != IGNORED] == [13, 14, 1, 18, 1]


def test_a_source_has_its_prefix_and_a_target_its_end() -> None:
    rows = read_language_rows(PAIRS, SEQ2SEQ)
    for ends in (False, True):
        [first, _] = LanguageReader(small.tokenizer(ends=ends), None, "blue ").seq2seq(rows, "training")
        assert first["input_ids"] == [8, 4, 5, *([1] if ends else [])] and first["labels"] == [13, 14, 1]


def causal(**keywords: Any) -> Any:
    """A training of one step; what it is given can be replaced."""
    given = {"module": small.model("gpt2"), "tokenizer": small.tokenizer(), "train": small.completions()} | keywords
    request = parse_request({"max_steps": 1} | given.pop("request", {}))
    return fine_tune_causal(**given, request=request)


def seq2seq(**keywords: Any) -> Any:
    given = {"module": small.model("bart"), "tokenizer": small.tokenizer(), "train": small.targets()} | keywords
    request = parse_request({"max_steps": 1} | given.pop("request", {}))
    return fine_tune_seq2seq(**given, request=request)


def template(text: str | None) -> Any:
    reader = small.tokenizer()
    reader.chat_template = text
    return reader


REFUSES = "{{ raise_exception('no roles but users') }}{% generation %}{% endgeneration %}"
LONG = read_language_rows([("what is", "one"), (" ".join(small.WORDS), "two")], CAUSAL)
ASKED = read_language_rows({"messages": [[{"role": "user", "content": "what"}]]}, CAUSAL)


@pytest.mark.parametrize(
    ("keywords", "error", "said"),
    [
        ({"train": LONG, "request": {"max_length": 8}}, InputError, "row 1"),
        ({"train": small.completions(), "held_out": LONG, "request": {"max_length": 8}}, InputError, "held-out"),
        ({"request": {"max_length": 1}}, OptionError, "max_length=1"),
        ({"tokenizer": small.tokenizer(eos_token=None)}, UsageError, "no end-of-sequence token"),
        ({"train": small.chats()}, UsageError, "no chat template"),
        ({"train": small.chats(), "tokenizer": template("{{ messages[0]['content'] }}")}, UsageError, "without {% gen"),
        ({"train": small.chats(), "tokenizer": template(REFUSES)}, InputError, "no roles but users"),
        ({"train": ASKED, "tokenizer": template(small.CHAT)}, InputError, "Nothing that the model is to write"),
        ({"module": small.model("gpt2", vocab_size=10)}, InputError, "does not have"),
        ({"module": small.model("t5")}, InputError, "no model for text-generation"),
        ({"module": small.model("llama").model}, InputError, "no model for text-generation"),
        ({"request": {"prompts": "a"}}, OptionError, "prompts does nothing"),
        ({"request": {"class_weights": "balanced"}}, OptionError, "class_weights does nothing"),
        ({"request": {"early_stopping": 1}}, UsageError, "early_stopping"),
        ({"request": {"lora": {"modules_to_save": ["lm_head"]}}}, OptionError, "lm_head"),
    ],
)
def test_what_can_not_be_trained_on_is_refused(
    keywords: dict[str, Any], error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    with pytest.raises(error, match=said):
        causal(**keywords)
    assert not (tmp_path / "home" / "train").exists()


@pytest.mark.parametrize(
    ("keywords", "error", "said"),
    [
        ({"module": small.model("gpt2")}, InputError, "no model for text2text-generation"),
        ({"tokenizer": small.tokenizer(pad_token=None)}, UsageError, "no token to pad with"),
        ({"module": small.model("t5", decoder_start_token_id=None)}, UsageError, "decoder_start_token_id"),
        ({"request": {"prompts": {"source": "a"}}}, OptionError, "one kind of texts"),
        ({"request": {"hard_negatives": 1}}, OptionError, "hard_negatives does nothing"),
    ],
)
def test_likewise_of_a_model_that_reads_first(keywords: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        seq2seq(**keywords)


def test_a_model_that_looks_at_both_sides_is_refused() -> None:
    from transformers import BertConfig, BertLMHeadModel

    sides = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    with pytest.raises(InputError, match="both sides"):
        causal(module=BertLMHeadModel(BertConfig(**sides, vocab_size=30)))


def test_a_generation_config_that_would_not_be_saved_is_refused() -> None:
    module = small.model("gpt2")
    module.generation_config.do_sample, module.generation_config.temperature = False, 0.3
    with pytest.raises(UsageError, match="temperature"):
        causal(module=module)
