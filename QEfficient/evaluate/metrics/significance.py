"""Whether one model is better than another on the same rows, or only looked so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from QEfficient.errors import InputError
from QEfficient.evaluate.metrics.intervals import RESAMPLES, Drawn, draw, is_share, scipy_stats, seeded
from QEfficient.evaluate.metrics.metric import Floats, Metric, refuse_empty, weighted_mean
from QEfficient.evaluate.metrics.resampling import units_of
from QEfficient.evaluate.record import Outcome

_FLIPS = 10  # random signs a resample: a p near 0.05 needs more of them than an interval does
_BLOCK = 200_000  # signs that are computed with at a time: what a CPU keeps in its cache


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """What a second model's metric is more than a first one's, on the same rows.

    Attributes:
        metric: Its name.
        value: The second's less the first's; NaN where one of them is.
        low, high: The 95 % interval; NaN where none can be told.
        p: How probable a difference as large as this one or larger is between models of equal quality; two-sided.
        better, worse: Rows on which the second one does better, and worse. Of accuracy: wrong became right, and right
            wrong. Of a metric that is no mean of rows they are counted by ``Metric.each``.
    """

    metric: str
    value: float
    low: float
    high: float
    p: float
    better: int
    worse: int


def difference(
    metric: Metric, first: Outcome, second: Outcome, *, resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifference:
    """Compares two models row by row.

    The test is

    - of zeros and ones on independent rows: McNemar's, exact (Q. McNemar, Psychometrika 12, 1947): a binomial test of
      the rows on which one model is right and the other wrong;
    - of other means: signs of the differences of rows, or of whole clusters, are flipped at random (R. A. Fisher, The
      design of experiments, 1935, §21);
    - of everything else, and of pairs that share texts: t of the difference over its standard deviation in resamples
      of rows, clusters or texts, in each of which both models have the same rows.

    The interval is the difference plus and minus t times that standard deviation; of zeros and ones on independent rows
    that of A. Agresti and Y. Min (Statistics in Medicine 24, 2005), which has a width where no row differs. Near
    p = 0.05 test and interval may disagree.

    Args:
        metric: Of the outcomes' task.
        first: What the model answered that is compared with.
        second: What the other one answered to the same rows, in the same order.
        resamples: How many.
        seed: Of the random numbers.

    Raises:
        InputError: The outcomes are not of the same rows, or have none.
        OptionError: ``resamples`` or ``seed`` is no number of its kind.
        MissingExtraError: scipy is not installed.
    """
    refuse_empty(first)
    _refuse_other_rows(first, second)
    units, generator = units_of(first), seeded(seed)
    each = [metric.each(first), metric.each(second)]
    gains = each[1] - each[0]
    functions = [
        weighted_mean(values) if metric.is_mean else metric.weighted(outcome)
        for values, outcome in zip(each, (first, second), strict=True)
    ]
    once = np.ones((1, len(first)))
    value = float(functions[1](once)[0] - functions[0](once)[0])
    low = high = p = float("nan")
    if not np.isnan(value) and units.count > 1:
        if units.single and is_share(metric, np.concatenate(each)):
            low, high, p = _of_changes(int((gains > 0).sum()), int((gains < 0).sum()), len(gains))
        else:
            [drawn] = draw([lambda weights: functions[1](weights) - functions[0](weights)], units, resamples, generator)
            low, high, p = _of_resamples(value, drawn)
            if metric.is_mean and not units.crossed:
                sums = gains if units.of is None else np.asarray(np.bincount(units.of, gains), np.float64)
                p = _flipped(sums, _FLIPS * resamples, generator)
    better, worse = (gains > 0, gains < 0) if metric.higher_is_better else (gains < 0, gains > 0)
    return PairedDifference(metric.name, value, low, high, p, int(better.sum()), int(worse.sum()))


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Probabilities of several tests, corrected so that one false finding among them all is no more probable.

    S. Holm, Scandinavian Journal of Statistics 6, 1979: the smallest times their number, the next times one less, and
    so on, none smaller than the one before it.

    Args:
        ps: One a test. A NaN is no test: it stays one and does not count.

    Returns:
        As many, in the same order, at most 1.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    found = [float("nan")] * len(ps)
    order = sorted((place for place, p in enumerate(ps) if p == p), key=lambda place: ps[place])
    most = 0.0
    for rank, place in enumerate(order):
        most = found[place] = max(most, min(1.0, ps[place] * (len(order) - rank)))
    return tuple(found)


def _of_changes(up: int, down: int, rows: int) -> tuple[float, float, float]:
    """Interval and p of a difference of two shares, from the rows that changed."""
    stats = scipy_stats()
    p = float(stats.binomtest(up, up + down).pvalue) if up + down else 1.0
    # Half a row more in each of the four cells of the table.
    more, less, total = up + 0.5, down + 0.5, rows + 2.0
    centre = (more - less) / total
    half = stats.norm.ppf(0.975) * np.sqrt((more + less) / total - centre**2) / np.sqrt(total)
    return float(max(centre - half, -1.0)), float(min(centre + half, 1.0)), p


def _of_resamples(value: float, drawn: Drawn) -> tuple[float, float, float]:
    """Interval and p from the spread of the resamples."""
    if len(drawn.values) and not drawn.values.any() and value == 0:  # the same numbers, whatever is drawn
        return 0.0, 0.0, 1.0
    if np.isnan(drawn.scale):
        return (float("nan"),) * 3
    deviation = float(drawn.values.std()) * drawn.scale
    stats = scipy_stats()
    half = float(stats.t.ppf(0.975, drawn.freedom)) * deviation
    return value - half, value + half, float(2 * stats.t.sf(abs(value) / deviation, drawn.freedom))


def _flipped(gains: Floats, flips: int, generator: np.random.Generator) -> float:
    """How often a sum with random signs is as far from 0 as the sum is, the sum itself among them."""
    gains = gains[gains != 0]
    if not len(gains):
        return 1.0
    least = abs(gains.sum()) - 1e-12 * np.abs(gains).sum()  # sums that only rounding tells apart are equal
    step, hits = max(1, _BLOCK // len(gains)), 1
    for start in range(1, flips, step):
        signs = generator.integers(0, 2, (min(step, flips - start), len(gains)), np.int8) * 2.0 - 1.0
        hits += int((np.abs(signs @ gains) >= least).sum())
    return hits / flips


def _refuse_other_rows(first: Outcome, second: Outcome) -> None:
    alike = first.task == second.task and len(first) == len(second)
    # The id of a masked word is that of a model's own vocabulary, and no metric reads it.
    if not alike or not (first.task == "fill-mask" or _equal(first.right, second.right)):
        raise InputError(
            "The two models did not answer the same rows.",
            got=f"{len(first)} rows of {first.task!r} and {len(second)} of {second.task!r}",
            allowed="the same task, and the same right answers in the same order",
            do="evaluate both models on the same data",
        )


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return np.array_equal(np.asarray(first), np.asarray(second))
    return bool(len(first) == len(second) and all(map(_same, first, second)))


def _same(first: Any, second: Any) -> bool:
    return _equal(first, second) if isinstance(first, (list, tuple, np.ndarray)) else bool(first == second)
