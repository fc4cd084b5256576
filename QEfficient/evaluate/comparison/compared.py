"""From the evaluations of several models to their comparison."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

from QEfficient.backends.host import processor, usable_cpus
from QEfficient.errors import UsageError
from QEfficient.evaluate.comparison.alignment import aligned
from QEfficient.evaluate.comparison.disagreement import disagreements
from QEfficient.evaluate.comparison.pareto import pareto_front
from QEfficient.evaluate.comparison.record import ComparedModel, Measured, ModelComparison
from QEfficient.evaluate.drawn.figures import CONFUSED
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.classification import confusion
from QEfficient.evaluate.metrics.significance import PairedDifference, difference, holm
from QEfficient.evaluate.record import Examples, Outcome
from QEfficient.evaluate.result import Evaluation

# Metrics of which a row has 1 where it is right, and less where not; of entities: where all of a row's are found.
_RIGHT_OR_WRONG = ("entity_f1", "accuracy", "subset_accuracy", "exact_match")


def compare_evaluations(
    evaluations: Sequence[Evaluation],
    measured: Sequence[Measured] = (),
    examples: Examples | None = None,
) -> ModelComparison:
    """Puts evaluations of one data set side by side; nothing is run.

    Each model but the first is compared with the first: the paired difference of each metric with its interval, and
    ``p``, which is corrected for the number of models (Holm) a metric.

    Args:
        evaluations: One a model, at least one; all of the same data, task and metrics.
        measured: Of each model, in the same order: speed, size, origin. None at all where nothing is known.
        examples: What was evaluated on, for the texts of the rows on which the models disagree.

    Raises:
        UsageError: There are no evaluations, they are not of the same data, task and metrics, or ``measured`` has
            another length.
    """
    refuse_unlike(evaluations)
    if measured and len(measured) != len(evaluations):
        raise UsageError(
            "There is not one measurement a model.",
            got=f"{len(measured)} measured, {len(evaluations)} evaluations",
            allowed="as many as there are evaluations, or none",
            do="pass Measured() for a model of which nothing is known",
        )
    first = evaluations[0]
    outcomes = aligned([one.outcome for one in evaluations])
    facts = tuple(measured) or (Measured(),) * len(evaluations)
    classes, names = first.task in CONFUSED, [one.name for one in first.metrics]
    return ModelComparison(
        task=first.task,
        data=first.data,
        digest=first.digest,
        rows=first.rows,
        seed=first.seed,
        resamples=first.resamples,
        models=tuple(
            ComparedModel(
                name=name,
                ran=one.ran,
                metrics=one.metrics,
                differences={metric: difference for metric, (difference, _) in differences.items()},
                adjusted={metric: p for metric, (_, p) in differences.items()},
                gained=None if changed is None else changed[0],
                lost=None if changed is None else changed[1],
                measured=known,
                front=front,
                confusion=confusion(outcome) if classes else None,
            )
            for one, outcome, known, name, front, differences, changed in zip(
                evaluations,
                outcomes,
                facts,
                distinct([(one.model, one.ran) for one in evaluations]),
                pareto_front(list(map(_point, evaluations, facts))),
                _differences(first, outcomes),
                [None, *(changed_rows(outcomes[0], other, names) for other in outcomes[1:])],
                strict=True,
            )
        ),
        labels=outcomes[0].labels if classes else (),
        disagreements=disagreements(outcomes, examples),
        machine=processor(),
        cpus=usable_cpus(),
        versions={name: version for one in evaluations for name, version in one.versions.items()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def refuse_unlike(evaluations: Sequence[Evaluation]) -> None:
    """Refuses what can't be put side by side.

    Raises:
        UsageError: There is nothing, or the evaluations are not of the same data, task and metrics.
    """
    if not evaluations:
        raise UsageError(
            "There is nothing to compare.", got="no evaluation", allowed="one or more", do="evaluate the models first"
        )
    first = evaluations[0]
    for one in evaluations[1:]:
        for what, mine, other in (
            ("task", first.task, one.task),
            ("data", f"{first.data}, {_rows(first)}", f"{one.data}, {_rows(one)}"),
            ("metrics", _metrics(first), _metrics(one)),
        ):
            same = (first.digest, first.rows) == (one.digest, one.rows) if what == "data" else mine == other
            if not same:
                raise UsageError(
                    f"{one.model} was evaluated with other {what} than {first.model}.",
                    got=f"{other}, where {first.model} has {mine}",
                    allowed="evaluations of the same rows in the same order, with the same task and metrics",
                    do="evaluate both anew, in the same way",
                )


def distinct(models: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """A name a model, no two of them equal.

    Args:
        models: Name, and what ran it: that is added to a name that stands there more than once, and a number where
            that is not enough.

    >>> distinct([("MiniLM", "torch fp32"), ("MiniLM", "emulator fp16"), ("mpnet", "torch fp32")])
    ('MiniLM (torch fp32)', 'MiniLM (emulator fp16)', 'mpnet')
    """
    many = Counter(name for name, _ in models)
    wanted = [name if many[name] == 1 else f"{name} ({ran})" for name, ran in models]
    found: list[str] = []
    for name in wanted:
        numbered = (f"{name} {number}" for number in count(2))
        fresh = (one for one in numbered if one not in wanted and one not in found)
        found.append(next(fresh) if name in found else name)
    return tuple(found)


def changed_rows(first: Outcome, second: Outcome, names: Sequence[str] | None = None) -> tuple[int, int] | None:
    """How many rows the first had wrong and the second has right, and the other way round.

    Args:
        first: What one model answered.
        second: What another one answered to the same rows.
        names: Metrics that were measured; ``None``: all of the task's. Others may have no value: tags that are no IOB2
            have an accuracy, and no entities.

    Returns:
        ``None`` where none of the metrics tells right rows from wrong ones.
    """
    metric = next((one for one in metrics_of(first.task, names) if one.name in _RIGHT_OR_WRONG), None)
    if metric is None:
        return None
    before, after = (metric.each(one) == 1 for one in (first, second))  # a row whose score is NaN is not right
    return int((~before & after).sum()), int((before & ~after).sum())


def _differences(first: Evaluation, outcomes: Sequence[Outcome]) -> list[dict[str, tuple[PairedDifference, float]]]:
    """A model's differences to the first, with ``p`` corrected for the number of models."""
    found: list[dict[str, tuple[PairedDifference, float]]] = [{} for _ in outcomes]
    for metric in metrics_of(first.task, [one.name for one in first.metrics]):
        made = [
            difference(metric, outcomes[0], other, resamples=first.resamples, seed=first.seed) for other in outcomes[1:]
        ]
        for known, one, p in zip(found[1:], made, holm([one.p for one in made]), strict=True):
            if not math.isnan(one.value):
                known[metric.name] = (one, p)
    return found


def _point(evaluation: Evaluation, facts: Measured) -> tuple[float, float] | None:
    """Quality and speed, of both of which more is better."""
    main = evaluation.metrics[0]
    if facts.speed is None or math.isnan(main.value):
        return None
    return (main.value if main.higher_is_better else -main.value, facts.speed.rate)


def _rows(one: Evaluation) -> str:
    return f"{one.rows} rows, SHA-256 {one.digest[:16]}"


def _metrics(one: Evaluation) -> str:
    return ", ".join(figure.name for figure in one.metrics)
