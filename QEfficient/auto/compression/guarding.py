"""What a step that makes a model smaller is measured by: the caller's held-out rows, or a function of the caller's."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.compress.guard import SCORE, Drop, Guard
from QEfficient.errors import OptionError
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.record import Examples
from QEfficient.records import Json
from QEfficient.train.scores import CHOSEN

if TYPE_CHECKING:
    from QEfficient.train.scores import MetricChange


def check_measured(guard: Guard | None, held_out: Examples | None, score: object) -> None:
    """Refuses limits for what will not be measured, before anything is done.

    Args:
        guard: The limits; ``None``: there are none.
        held_out: The rows to measure on.
        score: The caller's function, which is asked in place of the metrics.

    Raises:
        OptionError: A limit for another metric.
    """
    if guard is None:
        return
    names: Sequence[str] = [SCORE] if score is not None else []
    if score is None and held_out is not None:
        names = [metric.name for metric in metrics_of(held_out.task, CHOSEN.get(held_out.task))]
    guard.check_known(names)


def as_number(found: Any) -> float:
    """What the caller's function said.

    Raises:
        OptionError: It is no number.
    """
    try:
        return float(found)
    except (TypeError, ValueError) as error:
        raise OptionError(
            "score gives no number.",
            got=reprlib.repr(found),
            allowed="a number of which more is better",
            do="return one from the function",
        ) from error


def drops_between_models(
    before: Any, after: Any, rows: Examples | None, score: Callable[[Any], float] | None, *, torch: bool
) -> tuple[Drop, ...]:
    """What two Auto objects answer to the caller's held-out rows, or to the caller's function.

    Args:
        before: The one.
        after: Another one of its class.
        rows: The rows; ``None``: there are none.
        score: The function, in their place.
        torch: Ask their torch models, not their programs.
    """
    if score is not None:
        return (Drop(SCORE, as_number(score(before)), as_number(score(after))),)
    if rows is None:
        return ()
    from QEfficient.evaluate.answers.runner import SubjectRunner
    from QEfficient.evaluate.evaluation import answered
    from QEfficient.train.scores import changes

    first, second = (answered(SubjectRunner(one._subject(), torch=torch), rows) for one in (before, after))
    return drops_of(changes(first, second))


def drops_of(changes: Iterable[MetricChange]) -> tuple[Drop, ...]:
    """Metrics before and after, as a guard looks at them."""
    return tuple(
        Drop(
            one.before.name,
            one.before.value,
            one.after.value,
            one.before.higher_is_better,
            one.difference.low,
            one.difference.high,
            one.difference.p,
        )
        for one in changes
    )


def rows_as_json(name: str, rows: Examples | None) -> dict[str, Json]:
    """What a record says of rows: under ``name`` what they came from, how many, and their digest."""
    return {} if rows is None else {name: {"name": rows.name, "rows": len(rows), "digest": rows.digest}}
