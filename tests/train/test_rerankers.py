"""Rerankers: graded documents are learnt, and the result is an ordinary CrossEncoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from QEfficient.errors import InputError
from QEfficient.sentence_repo.repo import read as read_repo
from QEfficient.sentence_repo.reranker import read_scoring
from QEfficient.train.request import parse_request
from QEfficient.train.rerankers import fine_tune_reranker
from QEfficient.train.save import save_model
from tests.train import small


@pytest.mark.parametrize("lora", [False, True])
def test_the_held_out_loss_falls_and_a_cross_encoder_reads_the_result(repo: Path, tmp_path: Path, lora: bool) -> None:
    request = parse_request({"epochs": 3, "batch_size": 8, "learning_rate": 3e-3, "lora": lora})
    module, rows = small.classifier(repo, 1), small.graded()
    found = fine_tune_reranker(module, small.tokenizer(repo), rows, rows, request)
    before, after = found.course.held_out_losses or (0.0, 0.0)
    assert after < before
    asked = [("what is 3 of 3", text) for text in small.TEXTS[:4]]
    again = CrossEncoder(str(save_model(found, tmp_path / "saved")), device="cpu")
    assert np.array_equal(again.predict(asked), found.wrapper.predict(asked))


def test_a_model_with_several_outputs_is_refused(repo: Path) -> None:
    with pytest.raises(InputError, match="num_labels=1"):
        fine_tune_reranker(small.classifier(repo, 2), small.tokenizer(repo), small.graded())


def test_grades_beyond_what_the_loss_takes(repo: Path) -> None:
    rows = small.rows("reranking", query=["q"], documents=[["a", "b"]], grades=[[3, 0]])
    with pytest.raises(InputError, match="from 0 to 1"):
        fine_tune_reranker(small.classifier(repo, 1), small.tokenizer(repo), rows)


@pytest.mark.parametrize(("loss", "activation"), [(None, "Sigmoid"), ("MSELoss", "Identity")])
def test_scores_are_what_the_loss_compares(repo: Path, tmp_path: Path, loss: str | None, activation: str) -> None:
    request = parse_request({"max_steps": 1, "loss": loss})
    found = fine_tune_reranker(small.classifier(repo, 1), small.tokenizer(repo), small.graded(), None, request)
    save_model(found, tmp_path / "model")
    told = read_scoring(tmp_path / "model", read_repo(tmp_path / "model")).activation or ""
    assert told.rpartition(".")[2] == activation


def test_texts_are_cut_where_max_length_says(repo: Path) -> None:
    request = parse_request({"max_steps": 1, "dropout": 0.0, "weight_decay": 0.0, "warmup": 0, "max_length": 8})
    found = fine_tune_reranker(small.classifier(repo, 1), small.tokenizer(repo), small.graded(), None, request)
    start = small.classifier(repo, 1).bert.embeddings.position_embeddings.weight
    moved = (found.module.bert.embeddings.position_embeddings.weight != start).any(dim=1)
    assert moved[:8].all() and not moved[8:].any()
