"""What the caller has is as it was: random numbers, other threads' runs, torch's modes, and a model that diverged."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.errors import UsageError
from QEfficient.source.identity import tensors_digest
from tests.train import small

ROWS = {"text": small.TEXTS, "label": small.LABELS}
QUICK: dict[str, Any] = {"max_steps": 4, "batch_size": 8, "learning_rate": 3e-3}


def trained(repo: Path, where: Path, **keywords: Any) -> str:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    return tensors_digest(model.fine_tune(ROWS, output_dir=where, **QUICK | keywords).module)


def test_threads_train_as_each_would_alone(repo: Path, tmp_path: Path) -> None:
    alone = {seed: trained(repo, tmp_path / f"{seed}", seed=seed) for seed in (1, 2)}
    before, found = torch.get_rng_state(), {}

    def train(seed: int) -> None:
        found[seed] = trained(repo, tmp_path / f"{seed}-in-a-thread", seed=seed)

    threads = [threading.Thread(target=train, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    assert torch.equal(before, torch.get_rng_state())


def test_a_score_may_train_itself(repo: Path, tmp_path: Path) -> None:
    found: list[str] = []

    def score(model: Any) -> float:
        found.append(trained(repo, tmp_path / f"inner-{len(found)}"))
        return 0.0

    trained(repo, tmp_path / "outer", score=score)
    assert found[0] == found[1]


def test_weights_that_are_no_numbers_are_not_put_in_place(repo: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    model.fine_tune(ROWS, **QUICK)
    model.compile(seq_len=32)
    before = tensors_digest(model.model)
    asked = small.tokenizer(repo)(small.TEXTS[:1], return_tensors="pt")
    expected = model.generate(asked)["logits"]
    with pytest.raises(UsageError, match="learning_rate=1e\\+30"):
        model.fine_tune(ROWS, **QUICK | {"learning_rate": 1e30, "warmup": 0})
    assert tensors_digest(model.model) == before
    assert (model.generate(asked)["logits"] == expected).all()


def test_inference_mode_does_not_reach_the_training(repo: Path) -> None:
    with torch.inference_mode():
        model = QEFFAutoModelForSequenceClassification(small.classifier(repo))
        model.fine_tune(ROWS, tokenizer=small.tokenizer(repo), **QUICK)
        QEFFAutoModel.from_pretrained(repo, pooling="mean").distill(layers=1, data=small.TEXTS, **QUICK)
