"""Figures of labels: one a row, or several."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from QEfficient.evaluate.metrics.metric import Floats, Metric, Weighted, divided, f1_of, mean_of, of_totals, undefined
from QEfficient.evaluate.record import Outcome


def confusion(outcome: Outcome) -> NDArray[np.int64]:
    """How often each label was taken for each.

    Args:
        outcome: One label a row.

    Returns:
        ``(labels, labels)``: a row of the table for what is right, a column for what was answered. As many as there are
        names, and never fewer than the highest position that is met.
    """
    right, given = _labels(outcome)
    count = max(len(outcome.labels), int(max(right.max(initial=-1), given.max(initial=-1))) + 1)
    return np.bincount(right * count + given, minlength=count * count).reshape(count, count).astype(np.int64)


def _labels(outcome: Outcome) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.asarray(outcome.right, np.intp), np.asarray(outcome.given, np.intp)


def _no_answer(outcome: Outcome) -> NDArray[np.bool_]:
    """Rows whose scores hold a NaN: the label that was chosen by them means nothing."""
    if outcome.scores is None:
        return np.zeros(len(outcome), bool)
    found = np.isnan(np.asarray(outcome.scores))
    return np.asarray(found.reshape(len(outcome), -1).any(axis=1))


def _hits(outcome: Outcome) -> Floats:
    right, given = _labels(outcome)
    return np.where(_no_answer(outcome), np.nan, right == given)


def _of_macro_f1(outcome: Outcome) -> Weighted:
    """The mean of each label's F1, over labels that are met, as right or as an answer.

    As ``sklearn.metrics.f1_score(average="macro", zero_division=0)`` of the same rows.
    """
    if _no_answer(outcome).any():
        return undefined
    right, given = _labels(outcome)
    known, place = np.unique(np.concatenate([right, given]), return_inverse=True)
    right, given = place[: len(right)], place[len(right) :]
    hits = right == given
    of_right, of_given, of_hits = _Groups(right, len(known)), _Groups(given, len(known)), _Groups(right, len(known))

    def value(weights: Floats) -> Floats:
        both = of_right.sums(weights) + of_given.sums(weights)
        return _mean_f1(2.0 * of_hits.sums(weights * hits), both)

    return value


class _Groups:
    """Sums of weights over the rows of each of some groups."""

    def __init__(self, group: NDArray[np.intp], count: int) -> None:
        self.order, self.count = np.argsort(group, kind="stable"), count
        self.met, self.starts = np.unique(group[self.order], return_index=True)

    def sums(self, weights: Floats) -> Floats:
        """``(resamples, rows)`` → ``(resamples, groups)``."""
        sums = np.zeros((len(weights), self.count))
        sums[:, self.met] = np.add.reduceat(np.take(weights, self.order, axis=1), self.starts, axis=1)
        return sums


def _mean_f1(hits: Floats, both: Floats) -> Floats:
    """The mean F1 of the labels that a resample has, from twice the hits and what is right and answered together."""
    met = both > 0
    return divided(np.divide(hits, both, out=np.zeros_like(both), where=met).sum(axis=1), met.sum(axis=1).astype(float))


def _sets(outcome: Outcome) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return np.asarray(outcome.right, bool), np.asarray(outcome.given, bool)


def _whole_sets(outcome: Outcome) -> Floats:
    right, given = _sets(outcome)
    return np.where(_no_answer(outcome), np.nan, (right == given).all(axis=1))


def _of_sets(outcome: Outcome) -> Floats:
    """A row's hits, wrong answers and missed labels."""
    right, given = _sets(outcome)
    found = np.stack([(right & given).sum(1), (given & ~right).sum(1), (right & ~given).sum(1)], axis=1)
    return np.where(_no_answer(outcome)[:, None], np.nan, found)


def _row_f1(sums: Floats) -> Floats:
    """A row's own F1, of its hits, wrong answers and misses; 1 where it has no label and none is answered."""
    return np.where(sums.sum(axis=1) == 0, 1.0, f1_of(sums))


def _of_macro_f1_of_sets(outcome: Outcome) -> Weighted:
    """The mean of each label's F1; a label that no row has and no answer names counts as 0, as in scikit-learn."""
    if _no_answer(outcome).any():
        return undefined
    right, given = _sets(outcome)
    hits, both = 2.0 * (right & given), right + given.astype(np.float64)
    met = both.any(axis=0)
    if not met.any():
        return lambda weights: np.zeros(len(weights))
    share = met.mean()  # a label that the data has not counts as 0; one that a resample has not is left out of it
    return lambda weights: share * _mean_f1(weights @ hits, weights @ both)


ACCURACY = mean_of("accuracy", _hits)
MACRO_F1 = Metric("macro_f1", True, _of_macro_f1, _hits)
SUBSET_ACCURACY = mean_of("subset_accuracy", _whole_sets)
MICRO_F1 = Metric("micro_f1", True, of_totals(_of_sets, f1_of), lambda outcome: _row_f1(_of_sets(outcome)))
MACRO_F1_OF_SETS = Metric("macro_f1", True, _of_macro_f1_of_sets, lambda outcome: _row_f1(_of_sets(outcome)))
