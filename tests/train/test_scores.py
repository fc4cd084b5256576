"""What a training says of held-out rows: the figures of ``evaluate``, before and after, and where they are kept."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from QEfficient import (
    QEFFAutoModel,
    QEFFAutoModelForQuestionAnswering,
    QEFFAutoModelForSequenceClassification,
    QEFFAutoModelForTokenClassification,
)
from QEfficient.evaluate import compare
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.significance import difference
from QEfficient.source.checkpoint import TRAINING_FILE
from QEfficient.source.identity import tensors_digest
from QEfficient.train.scores import held_out_score
from tests.train import small

CLASSES = {"text": small.TEXTS, "label": small.LABELS}
QUICK: dict[str, Any] = {"batch_size": 8, "learning_rate": 3e-3, "max_steps": 4}
WORDS = [{"words": ["anna", "lives", "here"][: 1 + n % 3], "ner": ["B-P", "O", "O"][: 1 + n % 3]} for n in range(9)]
ASKED = [
    {"question": "who", "context": "anna lives here" + " so" * (30 * (n % 3)), "answers": ["anna"]} for n in range(6)
]
FORMS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "text-classification": (QEFFAutoModelForSequenceClassification, {"num_labels": 2}, CLASSES),
    "lora": (QEFFAutoModelForSequenceClassification, {"num_labels": 2}, CLASSES),
    "multi-label": (
        QEFFAutoModelForSequenceClassification,
        {"num_labels": 3},
        {"text": small.TEXTS, "labels": [["a"] if n % 2 else ["b", "c"] for n in range(40)]},
    ),
    "reranking": (QEFFAutoModelForSequenceClassification, {"num_labels": 1}, small.graded()),
    "token-classification": (QEFFAutoModelForTokenClassification, {"num_labels": 2}, WORDS),
    "question-answering": (QEFFAutoModelForQuestionAnswering, {}, ASKED),
    "similarity": (QEFFAutoModel, {"pooling": "auto"}, small.scored_pairs()),
    "retrieval": (QEFFAutoModel, {"pooling": "auto"}, small.pairs()),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_figures_are_those_of_evaluate(repo: Path, form: str) -> None:
    kind, keywords, rows = FORMS[form]
    model = kind.from_pretrained(repo, **keywords)
    more: dict[str, Any] = {"columns": {"tags": "ner"}} if rows is WORDS else {}
    if form == "multi-label":
        more = {"task": form}
    trained = model.fine_tune(rows, rows, max_length=12, lora=form == "lora", **QUICK, **more)
    found = {one.after.name: one for one in trained.course.metrics}
    expected = model.evaluate(rows, **more, metrics=list(found), resamples=20)
    assert [*found][0] == metrics_of(expected.task)[0].name
    assert [one.after.value for one in found.values()] == pytest.approx(
        [one.value for one in expected.metrics], abs=1e-5
    )
    gain = next(iter(found.values()))
    assert gain.difference.value == pytest.approx(gain.after.value - gain.before.value)
    assert all(name in str(trained) for name in found)


def test_before_is_of_the_untrained_model_and_the_difference_is_paired(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    before = model.evaluate(small.scored_pairs())
    trained = model.fine_tune(small.scored_pairs(), small.scored_pairs(), **QUICK)
    after = model.evaluate(small.scored_pairs())
    [gain, _] = trained.course.metrics
    assert gain.before.value == pytest.approx(before["spearman"].value) != gain.after.value
    own = difference(metrics_of("similarity")[0], before.outcome, after.outcome)
    assert (gain.difference.low, gain.difference.p) == pytest.approx((own.low, own.p), abs=1e-4)


def test_measuring_changes_no_weights_and_a_resumed_run_says_the_same(repo: Path) -> None:
    def train(held_out: Any, **more: Any) -> Any:
        model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
        return model.fine_tune(CLASSES, held_out, save_steps=2, **QUICK, **more)

    numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    whole, plain = train(CLASSES), train(CLASSES, score=lambda module: 1.5)
    assert torch.equal(torch.get_rng_state(), numbers[0]) and (np.random.get_state()[1] == numbers[1]).all()
    assert tensors_digest(whole.module) == tensors_digest(plain.module)
    assert plain.course.scores == (1.5, 1.5) and plain.course.metrics == ()  # the caller's replaces the figures
    assert whole.course.scores is None and whole.course.metrics
    (whole.output_dir / "checkpoint-4" / "trainer_state.json").unlink()  # as a kill leaves it
    assert train(CLASSES, resume=True).course.metrics == whole.course.metrics  # from step 2
    assert train(CLASSES, resume=True).course.metrics == whole.course.metrics  # a finished run


def test_the_repo_the_program_and_the_comparison_say_it(repo: Path, tmp_path: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    trained = model.fine_tune(CLASSES, CLASSES, **QUICK)
    told = json.loads((Path(model.name_or_path) / TRAINING_FILE).read_text())["metrics"]
    [accuracy, f1] = told
    gain = trained.course.metrics[0]
    assert (accuracy["name"], f1["name"]) == ("accuracy", "macro_f1")
    assert accuracy["before"]["value"] == gain.before.value and accuracy["difference"]["p"] == gain.difference.p
    model.compile(seq_len=16)
    saved = QEFFAutoModelForSequenceClassification.from_pretrained(model.save_pretrained(tmp_path / "program"))
    assert saved._need_loaded().program.manifest.key["trained"]["metrics"] == told
    [line] = {one.measured.lineage for one in compare([model, saved], CLASSES, seconds=None, resamples=20).models}
    assert line and line.endswith(f"accuracy {gain.before.value:.3f} to {gain.after.value:.3f} (40 held out)")
    model.close()
    saved.close()


def test_tags_that_mark_no_entities_have_an_accuracy(repo: Path) -> None:
    rows = [{"tokens": ["anna", "lives"], "tags": ["NOUN", "VERB"]}] * 4
    model = QEFFAutoModelForTokenClassification.from_pretrained(repo, num_labels=2)
    assert [one.after.name for one in model.fine_tune(rows, rows, **QUICK).course.metrics] == ["accuracy"]


def test_where_there_is_nothing_to_measure_there_is_none(repo: Path) -> None:
    reader = small.tokenizer(repo)
    assert held_out_score(None, reader, None, vectors=False) is None
    assert held_out_score(small.classes(), reader, None, vectors=True) is None  # labels say nothing of vectors
    assert held_out_score(small.rows("distillation", text=["a"]), reader, None, vectors=False) is None
    texts = small.rows("question-answering", question=["a"], context=["b"])
    assert held_out_score(texts, reader, None, vectors=False) is None
    alone = QEFFAutoModel.from_pretrained(repo, pooling="auto").fine_tune(small.classes(), small.classes(), **QUICK)
    assert alone.course.metrics == () and alone.course.held_out_losses is not None


def test_a_student_is_measured_where_rows_say_what_is_right(repo: Path) -> None:
    teacher = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    student = teacher.distill(layers=1, data=small.TEXTS, eval=small.scored_pairs(), **QUICK)
    [gain, _] = student._need_origin("a test").training["metrics"]
    expected = student.evaluate(small.scored_pairs())["spearman"].value
    assert gain["name"] == "spearman" and gain["after"]["value"] == pytest.approx(expected, abs=1e-6)
    plain = teacher.distill(layers=1, data=small.TEXTS, eval=small.TEXTS[:4], **QUICK)
    assert plain._need_origin("a test").training["metrics"] == []


def test_a_figure_without_an_interval_is_told_without_one(repo: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    [gain, _] = model.fine_tune(CLASSES, CLASSES, **QUICK).course.metrics
    nan = float("nan")
    alone = dataclasses.replace(
        gain, difference=dataclasses.replace(gain.difference, value=0.125, low=nan, high=nan, p=nan)
    )
    assert str(alone).endswith(" after, +0.1250") and math.isfinite(gain.difference.p)
    assert alone.to_dict()["difference"] == {"value": 0.125, "low": None, "high": None, "p": None}
