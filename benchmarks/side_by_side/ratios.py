"""Paired ratios over interleaved rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

CLASSES = (("exact", 0.99999), ("near-exact", 0.9999), ("int8", 0.99))
"""Class → the least cosine of any vector with HuggingFace's in float32; the first that holds counts."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one is as another.

    Attributes:
        mean: Geometric mean over the rounds.
        lower, upper: Ends of its 95 % interval: Student's t on the logarithms of the rounds' ratios.
    """

    mean: float
    lower: float
    upper: float


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Seconds of two in the same rounds → how many times as fast ours was.

    Raises:
        ValueError: Not the same number of rounds, or fewer than two.
    """
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError(f"{len(ours)} and {len(theirs)} rounds make no pairs")
    logs = [math.log(their / our) for our, their in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(logs)
    reach = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))


@dataclass(frozen=True, slots=True)
class Rounds:
    """How many times as fast one is as another, round by round.

    Attributes:
        median, least: Of the rounds' ratios.
    """

    median: float
    least: float


def by_round(ours: Sequence[float], theirs: Sequence[float]) -> Rounds:
    """Seconds of two in the same rounds → how many times as fast ours was.

    Raises:
        ValueError: Not the same number of rounds, or none.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} and {len(theirs)} rounds make no pairs")
    each = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Rounds(statistics.median(each), min(each))


def class_of(cosine: float) -> str | None:
    """The class that a least cosine belongs to, ``None`` below all."""
    return next((name for name, least in CLASSES if cosine >= least), None)


def turns(names: Sequence[str], number: int) -> list[str]:
    """The order of one round: each round starts one further on, and every other one runs backwards."""
    start = number // 2 % len(names) if names else 0
    order = [*names[start:], *names[:start]]
    return order[::-1] if number % 2 else order
