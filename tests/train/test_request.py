"""The keywords of fine_tune: each bad one is refused before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from QEfficient.errors import OptionError, QEfficientError
from QEfficient.train.distill_request import parse_distill_request
from QEfficient.train.request import TrainRequest, parse_request, refuse


def test_no_keywords_are_the_defaults() -> None:
    assert parse_request({}) == TrainRequest()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("epochs", value) for value in (0, -1, "3", float("nan"), float("inf"), True)),
        *(("batch_size", value) for value in (0, 2.5, None)),
        *(("learning_rate", value) for value in (0, -1e-5, "fast")),
        ("weight_decay", 1.5),
        ("warmup", -0.1),
        *(("seed", value) for value in (-1, 2**32, 0.5)),
        ("max_steps", 0),
        ("max_length", "long"),
        ("dropout", 1.1),
        *(("lora", value) for value in ("yes", 8, {1: 2}, {"rank": 3}, {"target_modules": {"query"}})),
        ("gradient_accumulation", 0),
        ("gradient_checkpointing", 1),
        ("precision", "fp16"),
        ("early_stopping", 0),
        *(("loss", value) for value in (3, "CosentLoss")),
        *(("class_weights", value) for value in ("heavy", {}, {"a": 0}, {"a": "b"})),
        ("hard_negatives", -1),
        ("prompts", {"query": 1}),
        ("save_steps", 0),
        ("resume", "yes"),
        ("output_dir", 3),
    ],
)
def test_a_value_out_of_range_is_named(keyword: str, value: object) -> None:
    with pytest.raises(QEfficientError, match=keyword):
        parse_request({keyword: value})


def test_an_unknown_keyword_gets_the_nearest() -> None:
    with pytest.raises(OptionError, match="learning_rate"):
        parse_request({"learning_rat": 1e-5})


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="output_dir"):
        parse_request({"output_dir": tmp_path / "file"})


def test_adapters_learn_faster_by_default() -> None:
    assert parse_request({}).rate == 5e-5
    assert parse_request({"lora": True}).rate == 5e-4
    assert parse_request({"lora": {"r": 4}}).lora == {"r": 4, "lora_alpha": 32, "lora_dropout": 0.0}


def test_where_a_run_is_kept_is_not_how_it_is_trained(tmp_path: Path) -> None:
    def named(model: Any) -> Any: ...

    here = parse_request({"output_dir": tmp_path, "resume": True, "save_steps": 3, "loss": named})
    assert here.how() == parse_request({"loss": named}).how() != parse_request({"seed": 1, "loss": named}).how()
    assert json.loads(json.dumps(here.how())) == here.how()


def test_what_does_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="hard_negatives does nothing"):
        refuse(parse_request({"hard_negatives": 2}), "a model with a head", "loss", "hard_negatives")
    with pytest.raises(OptionError, match="alpha does nothing"):
        refuse(parse_distill_request({"alpha": 0.1}), "an embedding model", "alpha")
    refuse(parse_distill_request({}), "a model", "alpha", "weights", "temperature", "prompts")
