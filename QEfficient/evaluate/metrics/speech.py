"""Error rates of transcripts: edits that make a transcript the right one, over what the right one has.

Words are what stands between white space; case and punctuation count. Who wants them not to normalises both sides
first. Sums over rows are divided, not the rows' own rates averaged, so that long rows count for more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.evaluate.metrics.metric import Floats, Metric, divided, of_totals
from QEfficient.evaluate.record import Outcome

_BLOCK = 256  # rows whose distances are computed together


def edits(first: Sequence[Sequence[Hashable]], second: Sequence[Sequence[Hashable]]) -> NDArray[np.int64]:
    """The least number of insertions, deletions and substitutions that make one sequence the other, row by row.

    V. I. Levenshtein, 1966, by the table of R. A. Wagner and M. J. Fischer, 1974: one line of it at a time, for many
    rows at once.

    >>> edits(["kitten", "abc"], ["sitting", ""])
    array([3, 3])
    """
    codes: dict[Hashable, int] = {}
    coded = [
        ([codes.setdefault(item, len(codes)) for item in one], [codes.setdefault(item, len(codes)) for item in other])
        for one, other in zip(first, second, strict=True)
    ]
    order = sorted(range(len(coded)), key=lambda row: len(coded[row][0]))  # rows of like lengths share a block
    found = np.zeros(len(coded), np.int64)
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        found[rows] = _block([coded[row] for row in rows])
    return found


def _block(pairs: Sequence[tuple[list[int], list[int]]]) -> NDArray[np.int64]:
    one, other = (_padded([pair[side] for pair in pairs], fill) for side, fill in ((0, -1), (1, -2)))
    lengths = np.array([len(pair[0]) for pair in pairs])
    ends = np.array([len(pair[1]) for pair in pairs])
    row, along = np.arange(len(pairs)), np.arange(other.shape[1] + 1)
    line = np.tile(along, (len(pairs), 1))
    found = np.where(lengths == 0, ends, 0)
    for step in range(one.shape[1]):
        after = line + 1  # a deletion
        after[:, 1:] = np.minimum(after[:, 1:], line[:, :-1] + (one[:, step, None] != other))
        line = np.minimum.accumulate(after - along, axis=1) + along  # insertions, any number of them
        done = lengths == step + 1
        found[done] = line[row[done], ends[done]]
    return found


def _padded(items: Sequence[Sequence[int]], fill: int) -> NDArray[np.int64]:
    table = np.full((len(items), max(map(len, items), default=0)), fill)
    for place, one in enumerate(items):
        table[place, : len(one)] = one
    return table


def _counts(split: Callable[[str], Sequence[str]]) -> Callable[[Outcome], Floats]:
    """A row's edits, and how many parts what is right has."""

    def counts(outcome: Outcome) -> Floats:
        right, given = ([split(text) for text in side] for side in (outcome.right, outcome.given))
        return np.stack([edits(right, given), [len(one) for one in right]], axis=1).astype(np.float64)

    return counts


def _error_rate(name: str, split: Callable[[str], Sequence[str]]) -> Metric:
    counts = _counts(split)
    rate = of_totals(counts, lambda sums: divided(sums[:, 0], sums[:, 1]))
    return Metric(name, False, rate, lambda outcome: counts(outcome)[:, 0])


WER = _error_rate("wer", str.split)
CER = _error_rate("cer", str.strip)
