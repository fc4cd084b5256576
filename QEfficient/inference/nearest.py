"""The best rows for each query, block by block: neither all scores nor a float copy of the corpus is ever held."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Ids = NDArray[np.int64]

BLOCK = 1 << 20  # numbers of a corpus that are looked at together: 4 MB in float32
QUERIES = 256  # that are scored together


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices that cover ``count`` rows, ``size`` at a time."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def best_rows(queries: Scores, count: int, top: int, score: Callable[[Scores, slice], Scores]) -> tuple[Scores, Ids]:
    """The largest scores of each query and the rows that have them, best first; of equal ones the earlier row.

    Args:
        queries: ``(queries, dim)``.
        count: Rows of the corpus.
        top: How many, at most ``count``.
        score: Queries and a slice of the rows → ``(queries, rows)``.

    Returns:
        Scores and row numbers, both ``(queries, top)``.
    """
    rows = max(1, BLOCK // max(1, queries.shape[1]))
    found = [_best_of(queries[part], blocks(count, rows), top, score) for part in blocks(len(queries), QUERIES)]
    return np.concatenate([scores for scores, _ in found]), np.concatenate([ids for _, ids in found])


def _best_of(
    queries: Scores, slices: Iterator[slice], top: int, score: Callable[[Scores, slice], Scores]
) -> tuple[Scores, Ids]:
    found, ids = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for rows in slices:
        places = np.broadcast_to(np.arange(rows.start, rows.stop), (len(queries), rows.stop - rows.start))
        found = np.concatenate([found, score(queries, rows)], axis=1)
        ids = np.concatenate([ids, places], axis=1)
        if found.shape[1] > top:
            kept = _largest(found, top)
            found, ids = found[kept].reshape(-1, top), ids[kept].reshape(-1, top)
    return ordered(found, ids)


def _largest(scores: Scores, top: int) -> NDArray[np.bool_]:
    """A mask of exactly ``top`` scores a row; of those that equal the least of them, the first ones."""
    least = np.partition(scores, -top, axis=1)[:, -top, None]
    above, equal = scores > least, scores == least
    room = top - above.sum(axis=1, keepdims=True)
    kept: NDArray[np.bool_] = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
    return kept


def ordered(scores: Scores, ids: Ids) -> tuple[Scores, Ids]:
    """Both with the largest score of each row first; equal ones keep their order."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


def hamming(queries: NDArray[np.uint8], corpus: NDArray[np.uint8]) -> NDArray[np.int32]:
    """How many bits of each query differ from those of each row: ``(q, bytes)``, ``(n, bytes)`` → ``(q, n)``."""
    size = next(size for size in (8, 4, 2, 1) if queries.shape[1] % size == 0)
    words = np.dtype(f"u{size}")
    rows = np.ascontiguousarray(np.ascontiguousarray(corpus).view(words).T)  # word by word, so that sums run over rows
    differ = np.zeros((len(queries), len(corpus)), np.int32)
    for ours, theirs in zip(np.ascontiguousarray(queries).view(words).T, rows, strict=True):
        differ += np.bitwise_count(ours[:, None] ^ theirs)
    return differ
