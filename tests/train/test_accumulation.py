"""Batches whose gradients are added up train a model with a head as one batch does; others refuse the keyword."""

from __future__ import annotations

from pathlib import Path

import pytest

from QEfficient.errors import OptionError
from QEfficient.train.distill_request import parse_distill_request
from QEfficient.train.embeddings import fine_tune_embeddings
from QEfficient.train.heads import fine_tune_head
from QEfficient.train.request import parse_request
from QEfficient.train.rerankers import fine_tune_reranker
from tests.train import small


def test_a_head_is_trained_as_by_one_batch(repo: Path) -> None:
    losses = []
    for batch_size, batches in ((8, 1), (2, 4)):
        keywords = {"batch_size": batch_size, "gradient_accumulation": batches, "group_by_length": False}
        request = parse_request(keywords | {"max_steps": 10, "dropout": 0.0})
        found = fine_tune_head(small.classifier(repo), small.tokenizer(repo), small.classes(), None, request)
        losses.append([loss for _, loss in found.course.losses])
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)


def test_where_batches_are_compared_within_it_is_refused(repo: Path) -> None:
    request, reader = parse_request({"gradient_accumulation": 2}), small.tokenizer(repo)
    with pytest.raises(OptionError, match="gradient_accumulation does nothing"):
        fine_tune_embeddings(small.encoder(repo), reader, small.MEAN, small.pairs(), None, request)
    with pytest.raises(OptionError, match="gradient_accumulation does nothing"):
        fine_tune_reranker(small.classifier(repo, 1), reader, small.graded(), None, request)
    with pytest.raises(OptionError, match="gradient_accumulation"):
        parse_distill_request({"gradient_accumulation": 2})
