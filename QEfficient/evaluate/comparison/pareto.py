"""Which of several models nobody beats."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float] | None]) -> list[bool | None]:
    """Whether a point is on the Pareto front: no other is at least as good in both numbers, and better in one.

    Args:
        points: Two numbers each, of which more is better; ``None`` for one that is not known, and takes no part.

    Returns:
        One a point; ``None`` for those that take no part. Equal points are on it together.

    >>> pareto_front([(0.9, 100.0), (0.8, 300.0), (0.8, 200.0), None])
    [True, True, False, None]
    """
    known = [one for one in points if one is not None]
    return [None if one is None else not any(_beats(other, one) for other in known) for one in points]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]
