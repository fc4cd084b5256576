"""How rows are read for training: on which side they are filled, with which prompts, how long, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from QEfficient import QEFFAutoModel, QEFFAutoModelForMaskedLM, QEFFAutoModelForSequenceClassification
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.source.identity import tensors_digest
from QEfficient.train.heads import fine_tune_head
from QEfficient.train.request import parse_request
from QEfficient.train.rerankers import fine_tune_reranker
from tests.train import small

CLASSES = {"text": small.TEXTS, "label": small.LABELS}
QUICK: dict[str, Any] = {"batch_size": 8, "max_steps": 1, "learning_rate": 3e-3}


def test_a_single_step_is_taken_at_the_full_rate(repo: Path) -> None:
    module = small.classifier(repo)
    before = tensors_digest(module)
    trained = fine_tune_head(module, small.tokenizer(repo), small.classes(), request=parse_request({"batch_size": 64}))
    assert trained.course.steps == 1 and tensors_digest(trained.module) != before


def test_a_tokenizer_that_fills_on_the_left_is_measured_as_programs_read(repo: Path) -> None:
    left = small.tokenizer(repo)
    left.padding_side = "left"
    module = small.classifier(repo)
    for kind, rows in (
        (QEFFAutoModelForSequenceClassification, CLASSES),
        (QEFFAutoModel, small.scored_pairs()),
    ):
        inner = module if rows is CLASSES else small.encoder(repo)
        how: dict[str, Any] = {"pooling": "mean"} if kind is QEFFAutoModel else {}
        trained = kind(copy.deepcopy(inner), **how).fine_tune(rows, rows, tokenizer=left, **QUICK)
        plain = kind(copy.deepcopy(inner), **how).fine_tune(rows, rows, tokenizer=small.tokenizer(repo), **QUICK)
        figures = [one.course.metrics[0].before.value for one in (trained, plain)]
        assert figures[0] == pytest.approx(figures[1], abs=1e-6)
    assert left.padding_side == "left"


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_held_out_loss_of_tokens_is_no_matter_of_batches(repo: Path, size: int) -> None:
    model = QEFFAutoModelForMaskedLM.from_pretrained(repo)
    texts = ["this is good", "awful film number 3 is this and that", "number 2 good film", "film"]
    request = {**QUICK, "batch_size": size}
    whole = model.fine_tune(texts, texts, **{**QUICK, "batch_size": 4}).course.held_out_losses
    again = QEFFAutoModelForMaskedLM.from_pretrained(repo).fine_tune(texts, texts, **request).course.held_out_losses
    assert whole and again and again[0] == pytest.approx(whole[0], abs=1e-5)


def test_prompts_are_kept_for_what_is_read_later(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    trained = model.fine_tune(small.pairs(), small.pairs(), prompts={"query": "ask ", "document": "tell "}, **QUICK)
    assert dict(trained.wrapper.prompts) == {"query": "ask ", "document": "tell "}
    expected = model.evaluate(small.pairs(), metrics=["mrr@10"], resamples=20)["mrr@10"].value
    assert {one.after.name: one.after.value for one in trained.course.metrics}["mrr@10"] == pytest.approx(expected)
    every = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    wrapper = every.fine_tune(small.pairs(), prompts="ask ", **QUICK).wrapper
    assert wrapper.prompts[wrapper.default_prompt_name] == "ask "


def test_a_rerankers_limit_is_its_own_after_shorter_training(repo: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=1)
    own = model._text()
    trained = fine_tune_reranker(
        small.classifier(repo, 1),
        small.tokenizer(repo),
        small.graded(),
        request=parse_request({**QUICK, "max_length": 8}),
        text=own,
    )
    assert trained.wrapper.max_seq_length == own.max_length > 8


@pytest.mark.parametrize("task", ["token-classification", "multiple-choice", "question-answering", "fill-mask"])
def test_rows_of_another_task_are_refused(repo: Path, task: str) -> None:
    rows = {
        "token-classification": [{"tokens": ["a", "b"], "tags": ["X", "Y"]}] * 4,
        "multiple-choice": [{"prompt": "a", "choices": ["b", "c"], "label": 0}] * 4,
        "question-answering": [{"question": "a", "context": "b", "answers": ["b"]}] * 4,
        "fill-mask": [{"text": "a [MASK]", "target": "b"}] * 4,
    }[task]
    with pytest.raises(UsageError, match="another task"):
        QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2).fine_tune(rows, task=task)


def test_what_the_model_does_not_know_is_refused_and_its_config_stays(repo: Path) -> None:
    module, reader = small.classifier(repo), small.tokenizer(repo)
    config = module.config.to_dict()
    with pytest.raises(InputError, match="A label of the held-out rows"):
        fine_tune_head(module, reader, small.classes(), small.rows("text-classification", text=["a"], label=["zz"]))
    beyond = [f"zebra{number}" for number in range(module.config.vocab_size)]
    reader.add_tokens(beyond)
    with pytest.raises(InputError, match="that the model does not have"):
        fine_tune_head(
            module, reader, small.rows("text-classification", text=[beyond[-1], "good"], label=small.LABELS[:2])
        )
    assert module.config.to_dict() == config


def test_a_limit_that_nobody_says_is_asked_for(repo: Path) -> None:
    reader = transformers.PreTrainedTokenizerFast(
        tokenizer_object=small.tokenizer(repo).backend_tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    )
    module = small.classifier(repo)
    trained = fine_tune_head(module, reader, small.classes(), request=parse_request(QUICK))
    assert trained.course.steps == 1  # the model says it
    module.config.max_position_embeddings = 0
    with pytest.raises(OptionError, match="how long a row may be"):
        fine_tune_head(module, reader, small.classes(), request=parse_request(QUICK))


def test_a_question_without_room_for_its_context_is_named(repo: Path) -> None:
    module = transformers.AutoModelForQuestionAnswering.from_pretrained(repo)
    rows = small.rows("question-answering", question=["who", "a " * 90], context=["b", "b"], answers=[["b"], ["b"]])
    with pytest.raises(InputError, match="in row 1"):
        fine_tune_head(module, small.tokenizer(repo), rows)


def test_what_has_no_gradient_checkpointing_is_refused(repo: Path) -> None:
    module = small.classifier(repo)
    module.supports_gradient_checkpointing = False
    with pytest.raises(OptionError, match="no gradient checkpointing"):
        fine_tune_head(
            module,
            small.tokenizer(repo),
            small.classes(),
            request=parse_request({"gradient_checkpointing": True}),
        )
    assert torch.is_grad_enabled()
