"""``compare``: what callers call models → what answers → evaluations, speeds and sizes → their comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from QEfficient import arguments
from QEfficient.errors import UsageError
from QEfficient.evaluate.answers.models import answering
from QEfficient.evaluate.answers.runner import SubjectRunner, TextModel
from QEfficient.evaluate.comparison.compared import compare_evaluations
from QEfficient.evaluate.comparison.footprint import disk_bytes, disk_bytes_beside, module_bytes, weight_bytes
from QEfficient.evaluate.comparison.lineage import lineage
from QEfficient.evaluate.comparison.record import Measured, ModelComparison
from QEfficient.evaluate.comparison.speed import Speed, length_of_time
from QEfficient.evaluate.comparison.timing import speeds
from QEfficient.evaluate.data import read_examples, subset
from QEfficient.evaluate.evaluation import Columns, answered, evaluate_examples
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.record import Examples


def compare_models(
    models: Sequence[Any] | Mapping[str, Any],
    data: object,
    task: str | None,
    metrics: str | Sequence[str] | None,
    columns: Columns | None,
    *,
    seconds: float | None,
    sampling: Mapping[str, int],
) -> ModelComparison:
    """Reads the data once, asks every model, and measures; the arguments are those of ``compare``."""
    if seconds is not None:
        seconds = length_of_time(seconds)  # before the work of which it is the end
    names, given = _named(models)
    asked = [answering(one) for one in given]
    examples = read_examples(data, task, columns, model_task=asked[0].task)
    wanted = [metrics] if isinstance(metrics, str) else metrics
    metrics_of(examples.task, wanted)
    for one in asked[1:]:  # what a model can't be asked is refused before the others have run
        answered(one, _first_row(examples))
    evaluations = [evaluate_examples(one, examples, wanted, **sampling) for one in asked]
    renamed = [one if name is None else replace(one, model=name) for name, one in zip(names, evaluations, strict=True)]
    timed: Sequence[Speed | None] = [None] * len(given)
    if seconds is not None:
        timed = speeds(asked, examples, seconds, sampling["seed"])
    measured = [_measured(*one) for one in zip(given, asked, timed, strict=True)]
    return compare_evaluations(renamed, measured, examples)


def _first_row(examples: Examples) -> Examples:
    """One row, for which a model need not read a whole corpus."""
    if not examples.corpus:
        return subset(examples, [0])
    columns = {"query": examples.columns["query"][:1], "relevant": [{0: 1.0}]}
    return replace(examples, columns=columns, corpus=examples.corpus[:1], clusters=None)


def _named(models: Sequence[Any] | Mapping[str, Any]) -> tuple[list[str | None], list[Any]]:
    """The callers' names for their models, ``None`` where there are none; and the models.

    Raises:
        UsageError: It is one model, or none.
    """
    if isinstance(models, Mapping):
        names: list[str | None] = [str(name) for name in models]
        given = list(models.values())
    else:
        given = arguments.listed("models", models, "models")
        names = [None] * len(given)
    if not given:
        raise UsageError(
            "There is nothing to compare.", got="no model", allowed="one or more", do="pass a list of models"
        )
    return names, given


def _measured(model: Any, asked: TextModel, speed: Speed | None) -> Measured:
    if not isinstance(asked, SubjectRunner):
        return Measured(speed, disk_bytes_beside(model), module_bytes(model))
    subject = asked.subject
    return Measured(speed, disk_bytes(subject), weight_bytes(subject), lineage(subject))
