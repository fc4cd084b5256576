"""How texts of given lengths fill the buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from QEfficient.analysis.record import BucketLoad, Lengths
from QEfficient.errors import UsageError
from QEfficient.records import LENGTH_DIM, Shape


def fill(rows: Sequence[int], buckets: Sequence[Shape], limit: int | None = None) -> Lengths:
    """Each row goes to the smallest bucket that holds it, and is filled up to the bucket's length.

    Args:
        rows: Length of each row in tokens, special tokens included.
        buckets: At least one.
        limit: Tokens after which the model shortens a text, where that is less than the longest bucket.

    Raises:
        UsageError: No rows, or the model's inputs have no length.
    """
    lengths = sorted({bucket.length for bucket in buckets if LENGTH_DIM in bucket.sizes})
    if not rows or not lengths:
        raise UsageError(
            "There is nothing to fill the buckets with." if lengths else "The model's inputs have one size.",
            got=f"{len(rows)} texts",
            allowed="at least one text, for a model that reads texts",
            do="leave texts out, or pass a list of strings",
        )
    longest = min(lengths[-1], limit or lengths[-1])
    kept = [min(row, longest) for row in rows]
    taken: dict[int, list[int]] = {length: [] for length in lengths}
    for row in kept:
        taken[lengths[bisect_left(lengths, row)]].append(row)
    loads = tuple(
        BucketLoad(length, len(group), sum(group), len(group) * length - sum(group)) for length, group in taken.items()
    )
    computed = sum(load.tokens + load.padding for load in loads)
    return Lengths(
        rows=len(rows),
        histogram=dict(sorted(Counter(kept).items())),
        shortened=sum(row > longest for row in rows),
        buckets=loads,
        efficiency=sum(kept) / computed,
    )
