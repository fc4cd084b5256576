"""What a model scores on held-out rows before and after its training: the figures of ``evaluate``.

The module is asked as it stands, in the process that trains it: all held-out rows, in batches, without gradients. That
takes about as long as the loss on these rows does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.evaluate.record import MetricValue, Outcome, finite
from QEfficient.records import Json
from QEfficient.train.rows import NO_LIMIT, room_of

if TYPE_CHECKING:
    from QEfficient.evaluate.metrics.metric import Metric
    from QEfficient.evaluate.metrics.significance import PairedDifference
    from QEfficient.evaluate.record import Examples
    from QEfficient.records import TextFacts

_OF_VECTORS = ("similarity", "retrieval", "reranking")
_RIGHT = {"question-answering": "answers", "fill-mask": "target"}
"""Task → the column of what is right, where rows may have none."""

_DEPTH = 100  # documents of a query's ranking: what is held before and after must fit into memory together
CHOSEN = {"retrieval": ("ndcg@10", "mrr@10", f"recall@{_DEPTH}")}
"""Task → its metrics, where not all of :mod:`QEfficient.evaluate.metrics.catalogue` are measured."""


@dataclass(frozen=True, slots=True)
class MetricChange:
    """One metric on the held-out rows.

    Attributes:
        before: Of the untrained model, with its 95 % interval.
        after: Of the trained one.
        difference: By how much the second is more, with interval and p: both answered the same rows.
    """

    before: MetricValue
    after: MetricValue
    difference: PairedDifference

    def __str__(self) -> str:
        first, second, gain = self.before, self.after, self.difference
        told = "" if math.isnan(gain.p) else f", p = {gain.p:.2g}"
        return f"{first.name}: {_told(first)} before, {_told(second)} after, {_told(gain, '+')}{told}"

    def to_dict(self) -> dict[str, Json]:
        """For JSON: what is not defined is null."""
        gain = self.difference
        numbers: dict[str, Json] = {name: finite(getattr(gain, name)) for name in ("value", "low", "high", "p")}
        return {
            "name": self.before.name,
            "higher_is_better": self.before.higher_is_better,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "difference": numbers,
        }


def held_out_score(
    held_out: Examples | None, processor: Any, text: TextFacts | None, *, vectors: bool
) -> Callable[[Any], Outcome] | None:
    """What asks a model about held-out rows, as the functions of the room take a ``score``.

    Args:
        held_out: The rows.
        processor: HuggingFace's, of a module with a head: its tokenizer, or what reads its images or sounds.
        text: The model's limit, and whether it lower-cases; ``None``: the tokenizer's own limit.
        vectors: Whether it is an embedding model.

    Returns:
        A function of the model as it is trained. ``None`` where nothing can be measured: there are no such rows, or
        they hold nothing right or wrong for this kind of model, as labels of texts do for one of vectors, texts alone,
        questions without answers, or texts whose masks are drawn anew each epoch.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    from QEfficient.evaluate.metrics.catalogue import METRICS
    from QEfficient.evaluate.metrics.intervals import scipy_stats

    if held_out is None or held_out.task not in (_OF_VECTORS if vectors else METRICS):
        return None
    if _RIGHT.get(held_out.task, "") not in ("", *held_out.columns):
        return None
    scipy_stats()  # refused before the training
    return lambda model: _answered(model, held_out, processor, text)


def _told(figure: MetricValue | PairedDifference, sign: str = "-") -> str:
    """A value with its interval, where there is one; ``sign="+"`` of a difference, which always has a sign."""
    value, low, high = (f"{number:{sign}.4f}" for number in (figure.value, figure.low, figure.high))
    return value if math.isnan(figure.low) else f"{value} [{low}, {high}]"


def changes(before: Outcome, after: Outcome) -> tuple[MetricChange, ...]:
    """The metrics of two outcomes of the same rows, and their differences; the task's main metric first."""
    from QEfficient.evaluate.metrics.intervals import metric_values
    from QEfficient.evaluate.metrics.significance import difference

    metrics = _metrics(before, after)
    figures = (metric_values(outcome, metrics) for outcome in (before, after))
    return tuple(
        MetricChange(first, second, difference(metric, before, after))
        for metric, first, second in zip(metrics, *figures, strict=True)
    )


def _metrics(before: Outcome, after: Outcome) -> tuple[Metric, ...]:
    from QEfficient.evaluate.metrics.catalogue import metrics_of

    if before.task == "token-classification":
        tags = {tag for one in (before, after) for rows in (one.right, one.given) for row in rows for tag in row}
        if not all(tag == "O" or tag[:2] in ("B-", "I-") and tag[2:] for tag in tags):
            return metrics_of(before.task, ["accuracy"])  # tags of words that mark no entities
    return metrics_of(before.task, CHOSEN.get(before.task))


def _answered(model: Any, held_out: Examples, processor: Any, text: TextFacts | None) -> Outcome:
    """What a model answers to the rows, with its own limit: ``max_length`` is the training's."""
    from QEfficient.evaluate.answers.modules import ModuleRunner
    from QEfficient.evaluate.answers.sentence_transformers import wrapped
    from QEfficient.evaluate.answers.texts import retrieval
    from QEfficient.evaluate.evaluation import OF_ONE_CLASS, OF_TEXTS

    task = held_out.task
    theirs = wrapped(model)
    if theirs is None:
        limit = (room_of(model, processor) or NO_LIMIT) if text is None else text.max_length
        lower_case, choices = bool(text and text.lower_case), task == "multiple-choice"
        own = ModuleRunner(model, processor, limit, lower_case, choices)
        return (OF_ONE_CLASS.get(task) or OF_TEXTS[task])(own, held_out)
    before, side = model.max_seq_length, model.tokenizer.padding_side
    try:
        if text is not None:
            model.max_seq_length = text.max_length
        model.tokenizer.padding_side = "right"  # as programs have it: filling on the left would move positions
        return retrieval(theirs, held_out, _DEPTH) if task == "retrieval" else OF_TEXTS[task](theirs, held_out)
    finally:
        model.max_seq_length, model.tokenizer.padding_side = before, side
