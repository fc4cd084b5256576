"""Softmax and its relatives in float32, as torch computes them: the tests hold them to 1e-6 of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
NO = np.float32(-np.inf)
"""The logit of a token that can't be chosen."""


def weights(logits: Logits) -> Logits:
    """What probabilities are proportional to: 1 for the largest logit."""
    with np.errstate(over="ignore", invalid="ignore"):
        proportional: Logits = np.exp(logits - logits.max())
    return proportional


def softmax(logits: Logits) -> Logits:
    """Probabilities of one row."""
    proportional = weights(logits)
    probabilities: Logits = proportional / proportional.sum()
    return probabilities


def log_softmax(logits: Logits) -> Logits:
    """Log-probabilities along the last axis: of one row, or of each of several."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        normalized: Logits = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalized


def entropy(logits: Logits) -> np.float32:
    """In nats; a token that can't be chosen adds nothing (``torch.distributions.Categorical.entropy``)."""
    normalized = log_softmax(logits)
    with np.errstate(invalid="ignore"):
        terms = np.where(normalized == NO, np.float32(0), normalized * np.exp(normalized))
    return np.float32(-terms.sum())


def cumulated(probabilities: Logits) -> Logits:
    """Running sums, each taken in float64 and rounded, as torch does on a CPU, so that a limit cuts where it does."""
    sums: Logits = np.cumsum(probabilities, dtype=np.float64).astype(np.float32)
    return sums


def nth_largest(logits: Logits, n: int) -> np.float32:
    """The value that stands at place ``n``, from 1, in falling order; the smallest where there are fewer."""
    place = max(len(logits) - n, 0)
    return np.float32(np.partition(logits, place)[place])


def best(logits: Logits, n: int) -> NDArray[np.int64]:
    """Places of the ``n`` largest, the largest first; of equal ones, the smaller place first."""
    n = min(n, len(logits))
    at_least = np.flatnonzero(logits >= nth_largest(logits, n))
    order = np.argsort(-logits[at_least], kind="stable")
    return at_least[order[:n]]
