"""Figures of two lists of numbers: correlations, errors, the share of the variance that is explained.

A NaN or an infinity among a model's answers makes every figure of them NaN: leaving the row out would flatter it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from QEfficient.evaluate.metrics.metric import Floats, Metric, Weighted, divided, mean_of, of_totals, undefined
from QEfficient.evaluate.record import Outcome

# A sum of squares below this share of what rounding works on is that of a constant.
_NOTHING = 1e-24


def _numbers(outcome: Outcome) -> tuple[Floats, Floats]:
    """What is right and what was answered, in double precision; an answer without end is none."""
    given = np.asarray(outcome.given, np.float64)
    return np.asarray(outcome.right, np.float64), np.where(np.isfinite(given), given, np.nan)


def _of_pearson(outcome: Outcome) -> Weighted:
    first, second = _numbers(outcome)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return undefined
    # Moved to their means and scaled, so that sums of squares lose no digits and stay in range.
    first, second = _scaled(first), _scaled(second)
    products = np.stack([np.ones_like(first), first, second, first * first, second * second, first * second], axis=1)

    def value(weights: Floats) -> Floats:
        total, sum1, sum2, square1, square2, both = (weights @ products).T
        return _correlation(
            both - divided(sum1 * sum2, total),
            _spread(square1 - divided(sum1 * sum1, total), square1),
            _spread(square2 - divided(sum2 * sum2, total), square2),
        )

    return value


def _of_spearman(outcome: Outcome) -> Weighted:
    first, second = _numbers(outcome)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return undefined
    rank1, rank2 = _Ranks(first), _Ranks(second)

    def value(weights: Floats) -> Floats:
        one, two = rank1.of(weights), rank2.of(weights)
        left = weights * one
        return _correlation(
            np.einsum("ij,ij->i", left, two),
            np.einsum("ij,ij->i", left, one),
            np.einsum("ij,ij->i", weights * two, two),
        )

    return value


class _Ranks:
    """Ranks of numbers of which each counts as often as its weight says; equal ones share the mean of their ranks."""

    def __init__(self, numbers: Floats) -> None:
        self.order = np.argsort(numbers, kind="stable")
        values = numbers[self.order]
        new = np.concatenate([[True], values[1:] != values[:-1]])
        self.starts = np.flatnonzero(new)
        self.place = np.empty(len(numbers), np.intp)  # row → its group of equal numbers
        self.place[self.order] = np.cumsum(new) - 1

    def of(self, weights: Floats) -> Floats:
        """Weights ``(resamples, rows)`` → ranks less their mean, of the same shape."""
        ordered = np.take(weights, self.order, axis=1)
        groups = ordered if len(self.starts) == len(self.order) else np.add.reduceat(ordered, self.starts, axis=1)
        upto = np.cumsum(groups, axis=1)
        middle = upto - groups / 2 - upto[:, -1:] / 2
        return np.take(middle, self.place, axis=1)


def _correlation(both: Floats, square1: Floats, square2: Floats) -> Floats:
    found: Floats = np.clip(divided(both, np.sqrt(square1) * np.sqrt(square2)), -1.0, 1.0)
    return found


def _scaled(numbers: Floats) -> Floats:
    most = np.abs(numbers).max()
    numbers = numbers / most if most > 0 else numbers
    if (numbers == numbers[0]).all():
        return np.zeros_like(numbers)
    return np.asarray(numbers - numbers.mean(), np.float64)


def _spread(squares: Floats, scale: Floats) -> Floats:
    """A sum of squares about a mean, 0 where it is no more than what rounding leaves."""
    found: Floats = np.where(squares > _NOTHING + 1e-13 * np.abs(scale), squares, 0.0)
    return found


def _absolute(outcome: Outcome) -> Floats:
    right, given = _numbers(outcome)
    return np.abs(right - given)


def _squares(outcome: Outcome) -> NDArray[np.float64]:
    """A row's share of: rows, squared errors, and what is right, less its mean, and its square."""
    right, given = _numbers(outcome)
    about = right - right.mean()
    return np.stack([np.ones(len(right)), (right - given) ** 2, about, about * about], axis=1)


def _r2(sums: Floats) -> Floats:
    total, errors, about, squares = sums.T
    return 1.0 - divided(errors, _spread(squares - divided(about * about, total), squares))


def _rmse(sums: Floats) -> Floats:
    return np.sqrt(divided(sums[:, 1], sums[:, 0]))


def _squared(outcome: Outcome) -> Floats:
    right, given = _numbers(outcome)
    return (right - given) ** 2


def _near(outcome: Outcome) -> Floats:
    """How near a row's rank is to its right one: 1 for the same, 0 for the other end of the list."""
    right, given = _numbers(outcome)
    once = np.ones((1, len(right)))
    found = 1.0 - np.abs(_Ranks(right).of(once) - _Ranks(given).of(once))[0] / max(len(right) - 1, 1)
    return np.where(np.isfinite(given), found, np.nan)


def _near_the_line(outcome: Outcome) -> Floats:
    """Less the distance of a row's two numbers, each in standard deviations from its mean."""
    right, given = (_scaled(numbers) for numbers in _numbers(outcome))
    right, given = (numbers / (numbers.std() or 1.0) for numbers in (right, given))
    return -np.abs(right - given)


SPEARMAN = Metric("spearman", True, _of_spearman, _near)
PEARSON = Metric("pearson", True, _of_pearson, _near_the_line)
MAE = mean_of("mae", _absolute, higher_is_better=False)
RMSE = Metric("rmse", False, of_totals(_squares, _rmse), _squared)
R2 = Metric("r2", True, of_totals(_squares, _r2), lambda outcome: -_squared(outcome))
