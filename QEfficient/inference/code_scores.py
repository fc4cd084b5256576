"""Scores of float queries against codes, without a float copy of them: a block of the corpus at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from QEfficient.inference.nearest import Ids, Scores, hamming, ordered
from QEfficient.inference.quantization import quantize_embeddings
from QEfficient.inference.ranges import grid
from QEfficient.inference.similarity import TINY, Vectors

Score = Callable[[Vectors, slice], Scores]


def scalar_scores(codes: NDArray[np.generic], ranges: NDArray[np.float32], norms: Vectors | None) -> Score:
    """Scores of int8 or uint8 codes, which stand for ``code · step + start`` a dimension.

    ``query · (code · step + start)`` is ``(query · step) · code + query · start``: so it is the query that is scaled,
    and never the corpus.

    Args:
        codes: ``(n, dim)``.
        ranges: ``(2, dim)``.
        norms: The length of each row, to divide by; ``None`` leaves the dot product.
    """
    starts, steps = grid(ranges)
    if codes.dtype == np.int8:
        starts = starts + 128 * steps  # what the code 0 stands for

    def score(queries: Vectors, rows: slice) -> Scores:
        scores: Scores = np.matmul(queries * steps, codes[rows].astype(np.float32).T, dtype=np.float32)
        scores += (queries @ starts)[:, None]
        if norms is not None:
            scores /= norms[rows]
        return scores

    return score


def hamming_scores(codes: NDArray[np.generic], precision: str, *, cosine: bool) -> Score:
    """Similarities of the vectors of signs, -1 and 1: ``dim - 2 · distance``, or as a cosine by the dim."""

    def score(queries: Vectors, rows: slice) -> Scores:
        dim = queries.shape[1]
        coded = quantize_embeddings(queries, precision)
        differ = hamming(coded.view(np.uint8), codes[rows].view(np.uint8))
        scores: Scores = (dim - 2 * differ).astype(np.float32)
        if cosine:
            scores /= dim
        return scores

    return score


def rescored(queries: Vectors, ids: Ids, vectors: Callable[[Ids], Vectors], *, cosine: bool) -> tuple[Scores, Ids]:
    """The candidates of each query ordered by what better vectors say; equal ones by their row.

    Args:
        queries: ``(q, dim)``, of length 1 where ``cosine`` is asked.
        ids: Rows, ``(q, candidates)``.
        vectors: Rows → ``(candidates, dim)``.
        cosine: Divide by the length of the vectors.
    """
    ids = np.sort(ids, axis=1)
    scores = np.empty(ids.shape, np.float32)
    for place, (query, rows) in enumerate(zip(queries, ids, strict=True)):
        found = vectors(rows)
        scores[place] = found @ query
        if cosine:
            scores[place] /= np.maximum(np.linalg.norm(found, axis=1), TINY)
    return ordered(scores, ids)
