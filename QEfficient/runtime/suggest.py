"""Which buckets to compile for, from the lengths of the rows that will come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.arguments import listed, whole
from QEfficient.errors import InputError
from QEfficient.records import Shape

Cost = Callable[[int, int], float]
"""Length and batch of a bucket → what one run of it costs, in any unit; infinity rules a shape out."""


def positions(length: int, batch: int) -> float:
    """The positions that a run computes, padding included: the default cost."""
    return float(length * batch)


def suggest_buckets(
    lengths: Iterable[int] | Mapping[int, int],
    k: int = 5,
    *,
    cost: Cost = positions,
    batch_sizes: Sequence[int] = (1,),
    longest: int | None = None,
) -> tuple[Shape, ...]:
    """The ``k`` buckets, or fewer, in which rows of these lengths cost least, with fixed shapes.

    Each row goes to the shortest bucket that holds it, and each bucket has the batch size that is cheapest for its
    rows. Found by dynamic programming over the lengths that occur, so the result is a true minimum: no other ``k``
    buckets cost less. It takes time and memory by the square of the number of different lengths.

    Args:
        lengths: Tokens of each row; or length → number of such rows.
        k: The most buckets. More make less padding; compiling and loading take longer with each.
        cost: What one run of a bucket costs. A prediction or a measurement in place of the default lets a bucket's
            fixed costs count too.
        batch_sizes: What a bucket's batch may be. Rows that are missing to a full batch are paid for.
        longest: The last bucket holds so many tokens, though no row may be so long: for rows that are yet to come.

    Returns:
        Ascending.

    Raises:
        InputError: No rows, a length or a number below 1, ``longest`` below the longest row, or no finite cost.
    """
    sizes, counts = _histogram(lengths, longest)
    _positive("k", [k], "the most buckets")
    _positive("batch_sizes", batch_sizes, "rows of a batch")
    price, batch = _prices(sizes, counts, cost, batch_sizes)
    rows = len(sizes)
    best = price[0, 1:]  # one bucket: all rows up to each length
    splits: list[NDArray[np.int64]] = []
    totals = [best[-1]]
    for _ in range(1, min(k, rows)):
        joined = best[:, None] + price[1:, 1:]  # rows up to the first index in fewer buckets, the others in one more
        splits.append(joined.argmin(axis=0))
        best = joined.min(axis=0)
        totals.append(best[-1])
    used = int(np.argmin(totals))  # of equal totals the one with fewer buckets
    if not np.isfinite(totals[used]):
        raise InputError(
            "No buckets hold all rows at a finite cost.",
            got=f"rows up to {sizes[-1]} tokens, batch_sizes={tuple(batch_sizes)!r}",
            allowed="a cost that is finite for the longest row, with one of the batch sizes",
            do="add 1 to batch_sizes, or let cost give a number there",
        )
    found, end = [], rows
    for step in reversed(range(used + 1)):
        start = int(splits[step - 1][end - 1]) + 1 if step else 0
        found.append(Shape(int(sizes[end - 1]), int(batch[start, end])))
        end = start
    return tuple(reversed(found))


def _histogram(
    lengths: Iterable[int] | Mapping[int, int], longest: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lengths that occur, ascending, and how many rows have each."""
    many = list(lengths) if isinstance(lengths, Mapping) else listed("lengths", lengths, "whole numbers")
    rows = list(lengths.values()) if isinstance(lengths, Mapping) else [1] * len(many)
    _positive("lengths", [*many, *rows], "tokens of a row, and how many rows have so many")
    counted: Counter[int] = Counter()
    for length, count in zip(many, rows, strict=True):
        counted[int(length)] += int(count)
    if not counted:
        raise InputError(
            "There are no rows to find buckets for.",
            got="no lengths",
            allowed="at least one length",
            do="pass the lengths of texts like those that will come",
        )
    if longest is not None:
        if longest < max(counted):
            raise InputError(
                "The longest row does not fit into the last bucket.",
                got=f"{max(counted)} tokens",
                allowed=f"at most longest={longest}",
                do="shorten the rows first, or leave longest out",
            )
        counted.setdefault(longest, 0)
    sizes = sorted(counted)
    return np.array(sizes), np.array([counted[size] for size in sizes])


def _positive(name: str, values: Iterable[object], what: str) -> None:
    for value in values:
        number = whole(value)
        if number is None or number < 1:
            raise InputError(
                f"{name} holds what is no positive int.",
                got=f"{value!r}",
                allowed=f"ints from 1 up: {what}",
                do="count the tokens of each row, special tokens included",
            )


def _prices(
    sizes: NDArray[np.int64], counts: NDArray[np.int64], cost: Cost, batches: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For every run of lengths ``start … end - 1``: the cost of one bucket for them, and its batch size.

    Both are ``(n + 1, n + 1)``; where ``end <= start`` there is no such bucket, and the cost is infinite.
    """
    before = np.concatenate([[0], counts.cumsum()])
    price = np.full((len(sizes) + 1, len(sizes) + 1), np.inf)
    batch = np.zeros(price.shape, np.int64)
    for end, size in enumerate(sizes, start=1):
        rows = before[end] - before[:end]
        each = np.array([_times(-(-rows // b), float(cost(int(size), b))) for b in batches])
        price[:end, end] = each.min(axis=0)
        batch[:end, end] = np.array(batches)[each.argmin(axis=0)]
    return price, batch


def _times(runs: NDArray[np.int64], cost: float) -> NDArray[np.float64]:
    """No runs cost nothing, however dear one is."""
    return np.multiply(runs, cost, out=np.zeros(len(runs)), where=runs > 0)
