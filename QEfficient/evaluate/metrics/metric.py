"""What a metric is: a function of an outcome whose rows may count several times, or not at all.

A resample of the rows is a weight a row, and so is a resample of whole clusters, or of texts that several pairs share.
Written for weights, a metric gives the values of many resamples at once, and sorts or compares its rows only once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError
from QEfficient.evaluate.record import Outcome

Floats = NDArray[np.float64]
Weighted = Callable[[Floats], Floats]
"""Weights ``(resamples, rows)`` → a value a resample, ``(resamples,)``; NaN where a resample has none."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of an outcome.

    Attributes:
        name: As people write it: ``"accuracy"``, ``"ndcg@10"``.
        higher_is_better: False for an error or an error rate.
        weighted: Outcome → the metric as a function of weights. What depends on the rows alone is done here, once.
        each: Outcome → a value a row, ``(rows,)``. Of a metric that is no mean it tells a good row from a bad one, in
            the metric's own direction: the row's errors for an error rate, how near its ranks are for a correlation.
        is_mean: Whether the metric is the mean of these values.
    """

    name: str
    higher_is_better: bool
    weighted: Callable[[Outcome], Weighted]
    each: Callable[[Outcome], Floats]
    is_mean: bool = False

    def value(self, outcome: Outcome, rows: NDArray[np.intp] | None = None) -> float:
        """The metric of an outcome, or of some of its rows.

        Args:
            outcome: What is right and what was answered.
            rows: Positions of rows; one that is there twice counts twice. ``None``: every row once.

        Returns:
            NaN where it is not defined, as a correlation with a constant is not, or where a row's answer is NaN.

        Raises:
            InputError: The outcome has no rows.
        """
        refuse_empty(outcome)
        count = len(outcome)
        weights = np.ones(count) if rows is None else np.bincount(rows, minlength=count).astype(np.float64)
        return float(self.weighted(outcome)(weights[None])[0])


def mean_of(name: str, each: Callable[[Outcome], Floats], *, higher_is_better: bool = True) -> Metric:
    """A metric that is the mean of a value a row."""
    return Metric(name, higher_is_better, lambda outcome: weighted_mean(each(outcome)), each, is_mean=True)


def weighted_mean(values: Floats) -> Weighted:
    """The mean of a value a row, as a function of weights."""
    return lambda weights: divided(weights @ values, weights.sum(axis=1))


def of_totals(
    counts: Callable[[Outcome], Floats], combine: Callable[[Floats], Floats]
) -> Callable[[Outcome], Weighted]:
    """What a metric is that is a function of sums over rows, as an error rate is one sum over another.

    Args:
        counts: Outcome → what a row adds to each sum, ``(rows, sums)``.
        combine: Sums ``(resamples, sums)`` → values ``(resamples,)``.
    """

    def weighted(outcome: Outcome) -> Weighted:
        values = counts(outcome)
        return lambda weights: combine(weights @ values)

    return weighted


def divided(above: Floats, below: Floats) -> Floats:
    """One by the other; NaN where the divisor is 0."""
    found: Floats = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
    return found


def f1_of(sums: Floats) -> Floats:
    """F1 of hits, wrong answers and misses, ``(resamples, 3)``; 0 where there are none, NaN where a count is."""
    hits, wrong, missed = sums.T
    below = 2 * hits + wrong + missed
    found: Floats = np.where(below == 0, 0.0, divided(2 * hits, below))
    return found


def undefined(weights: Floats) -> Floats:
    """The metric of rows of which one has NaN for an answer: leaving it out would flatter the model."""
    return np.full(len(weights), np.nan)


def refuse_empty(outcome: Outcome) -> None:
    """Refuses an outcome without rows.

    Raises:
        InputError: There are none.
    """
    if not len(outcome):
        raise InputError(
            "There are no rows to measure.",
            got="0 rows",
            allowed="one row or more",
            do="check what the data was read from",
        )
