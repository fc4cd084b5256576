"""The importance of units by the losses of this room: of every task, with labels and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from QEfficient.compress.pruning.groups import UnitGroup, find_groups
from QEfficient.compress.pruning.importance import Importance
from QEfficient.errors import InputError, PoolingError, UsageError
from QEfficient.evaluate.record import Examples
from QEfficient.train import unit_importance
from QEfficient.train.sentence_model import SentenceHead
from QEfficient.train.teacher import ModelWithTokenizer
from QEfficient.train.unit_importance import head_importance, vector_importance
from tests.train import small, small_signals

TEXTS = small.rows("distillation", text=small.TEXTS)


def measured(repo: Path, rows: Examples, kind: str = "SequenceClassification", labels: int = 2) -> Importance:
    module = small.classifier(repo, labels, kind)
    return head_importance(ModelWithTokenizer(module, small.tokenizer(repo)), find_groups(module), rows)


def test_every_task_of_texts_has_a_loss(repo: Path) -> None:
    words = [text.split() for text in small.TEXTS[:8]]
    contexts = [f"the answer is {number}" for number in range(8)]
    cases: list[tuple[Examples, str, int]] = [
        (small.rows("text-classification", text=small.TEXTS, label=[0, 1] * 20), "SequenceClassification", 2),
        (small.rows("multi-label", text=small.TEXTS, labels=[[0], [0, 2]] * 20), "SequenceClassification", 3),
        (small.rows("regression", text=small.TEXTS, score=[0.5] * 40), "SequenceClassification", 1),
        (small.graded(), "SequenceClassification", 1),
        (TEXTS, "SequenceClassification", 3),
        (TEXTS, "TokenClassification", 3),
        (
            small.rows("token-classification", tokens=words, tags=[[0] * len(row) for row in words]),
            "TokenClassification",
            3,
        ),
        (
            small.rows(
                "question-answering", question=["what"] * 8, context=contexts, answers=[[str(n)] for n in range(8)]
            ),
            "QuestionAnswering",
            2,
        ),
        (small.rows("fill-mask", text=small.TEXTS), "MaskedLM", 2),
        (
            small.rows("multiple-choice", prompt=["a"] * 4, choices=[["b", "c"]] * 4, label=[0, 1] * 2),
            "MultipleChoice",
            1,
        ),
    ]
    for rows, kind, labels in cases:
        found = measured(repo, rows, kind, labels)
        assert all(values.max() > 0 and np.isfinite(values).all() for values in found.values.values()), rows.task


def test_images_have_one_too(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    folder = small_signals.repo(tmp_path / "vision", "image-classification")
    module = AutoModelForImageClassification.from_pretrained(folder, num_labels=2)
    pictures = [small_signals.picture(number) for number in range(4)]
    rows = small.rows("image-classification", image=pictures, label=[0, 1, 0, 1])
    model = ModelWithTokenizer(module, AutoImageProcessor.from_pretrained(folder))
    found = head_importance(model, find_groups(module), rows)
    assert all(values.max() > 0 for values in found.values.values())


def test_of_one_score_it_is_how_far_that_moves(repo: Path) -> None:
    module, tokenizer = small.classifier(repo, 1), small.tokenizer(repo)
    groups = find_groups(module)
    found = head_importance(ModelWithTokenizer(module, tokenizer), groups, TEXTS)
    moved = _moved(
        module, groups[0], 1, lambda: module(**tokenizer(small.TEXTS, padding=True, return_tensors="pt")).logits
    )
    assert found.values[groups[0].output][1] == pytest.approx(moved, rel=0.02)


def test_of_vectors_it_is_how_far_they_move_on_average(repo: Path) -> None:
    module, tokenizer = small.encoder(repo), small.tokenizer(repo)
    groups, model = find_groups(module), ModelWithTokenizer(module, tokenizer)

    def vectors() -> torch.Tensor:
        inputs = tokenizer(small.TEXTS, padding=True, return_tensors="pt")
        states, mask = module(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    runs = [vector_importance(model, small.MEAN, groups, TEXTS, seed).values for seed in range(10)]
    assert not np.array_equal(runs[0][groups[0].output], runs[1][groups[0].output])
    again = vector_importance(model, small.MEAN, groups, TEXTS, 0).values
    assert all(np.array_equal(runs[0][name], again[name]) for name in again)
    for group in groups[:2]:
        mean = np.mean([run[group.output][2] for run in runs])
        assert mean == pytest.approx(_moved(module, group, 2, vectors), rel=0.3)  # 400 directions


def _moved(module: Any, group: UnitGroup, unit: int, outputs: Any) -> float:
    """By which squared distance outputs move a step of one unit's gate, all rows together."""
    step, scale = 1e-2, torch.ones(group.units * group.width)
    scale[unit * group.width : (unit + 1) * group.width] -= step
    with torch.no_grad():
        before = outputs()
        handle = module.get_submodule(group.output).register_forward_pre_hook(lambda _, inputs: (inputs[0] * scale,))
        after = outputs()
    handle.remove()
    return float(((after - before) / step).double().square().sum())


def test_a_seed_draws_the_rows(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_importance, "ROWS", 10)
    module = small.classifier(repo, 1)
    groups, model = find_groups(module), ModelWithTokenizer(module, small.tokenizer(repo))
    name = groups[0].output
    drawn = [head_importance(model, groups, TEXTS, seed).values[name] for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_what_does_not_fit_is_refused(repo: Path) -> None:
    with pytest.raises(UsageError, match="Nothing is pruned for"):
        measured(repo, small.scored_pairs())
    with pytest.raises(InputError, match="no rows"):
        measured(repo, small.rows("distillation", text=[]))
    with pytest.raises(InputError, match="out of range"):
        measured(repo, small.rows("text-classification", text=["a"], label=[7]))
    with pytest.raises(InputError, match="one output"):
        measured(repo, small.rows("regression", text=["a"], score=[0.5]))
    module = small.encoder(repo)
    with pytest.raises(PoolingError, match="no vector"):
        vector_importance(
            ModelWithTokenizer(module, small.tokenizer(repo)), SentenceHead(()), find_groups(module), TEXTS
        )
