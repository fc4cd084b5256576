"""95 % intervals of figures: what another set of rows from the same source might have shown.

How often they hold the true value was measured on 1,000 simulated sets of each kind;
``tests/evaluate/test_coverage.py`` makes such sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from QEfficient.arguments import positive, whole
from QEfficient.errors import MissingExtraError, OptionError
from QEfficient.evaluate.metric import Floats, Metric, Weighted, refuse_empty, weighted_mean
from QEfficient.evaluate.record import Figure, Outcome
from QEfficient.evaluate.resampling import Units, left_out, resampled, units_of

RESAMPLES = 1_000
"""How many resamples an interval rests on, where nothing else is said."""

_TAIL = 0.975  # of a 95 % interval


def figures(
    outcome: Outcome, metrics: Sequence[Metric], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Figure, ...]:
    """Metrics of an outcome, each with its 95 % interval.

    What is resampled are rows, or whole clusters, or the texts of pairs that share texts
    (:func:`QEfficient.evaluate.resampling.units_of`). All metrics see the same resamples. An interval's ends are

    - of a mean of zeros and ones, as accuracy is: Wilson's, because resamples of rows that are all right know of no
      wrong one (:func:`wilson`);
    - of everything else: quantiles of the resamples, corrected for bias and skewness (BCa: B. Efron, Better bootstrap
      confidence intervals, JASA 82, 1987) and widened to the t distribution of so many units (T. C. Hesterberg, What
      teachers should know about the bootstrap, The American Statistician 69, 2015, "expanded");
    - where texts are resampled: the same, drawn in to the spread that pairs have (:func:`spread`).

    Args:
        outcome: What is right and what was answered.
        metrics: Of the outcome's task.
        resamples: How many.
        seed: Of the random numbers.

    Returns:
        One figure a metric, in their order. The ends are NaN where the value is, where there are fewer than two units,
        or where most resamples have no value.

    Raises:
        InputError: The outcome has no rows.
        OptionError: ``resamples`` or ``seed`` is no number of its kind.
        MissingExtraError: scipy is not installed.
    """
    refuse_empty(outcome)
    units, generator = units_of(outcome), seeded(seed)
    values = [metric.each(outcome) if metric.is_mean else None for metric in metrics]
    functions = [
        metric.weighted(outcome) if value is None else weighted_mean(value)
        for metric, value in zip(metrics, values, strict=True)
    ]
    drawn = draw(functions, units, resamples, generator)
    found = []
    for metric, value, function, theirs in zip(metrics, values, functions, drawn, strict=True):
        point = float(function(np.ones((1, len(outcome))))[0])
        if value is not None and not units.crossed and zero_one(value):
            low, high = wilson(value, units)
        else:
            low, high = _bca(point, theirs, function, units)
        found.append(Figure(metric.name, point, low, high, metric.higher_is_better))
    return tuple(found)


def seeded(seed: int) -> np.random.Generator:
    """A generator of random numbers.

    Raises:
        OptionError: The seed is no whole number from 0 on.
    """
    number = whole(seed)
    if number is None or number < 0:
        raise OptionError(
            "seed is not a whole number.", got=f"seed={seed!r}", allowed="a whole number from 0 on", do="pass seed=0"
        )
    return np.random.default_rng(number)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One metric's resamples.

    Attributes:
        values: Those that have a value, ``(resamples,)``; none where most have not.
        shrink: What distances from the metric's own value are multiplied with; 1 but for texts.
    """

    values: Floats
    shrink: float


def draw(functions: Sequence[Weighted], units: Units, resamples: int, generator: np.random.Generator) -> list[Drawn]:
    """Resamples of some metrics, with how far they are to be drawn in.

    Raises:
        OptionError: ``resamples`` is no whole number from 1 on.
    """
    count = positive("resamples", resamples, "resamples")
    drawn = resampled(functions, units, count, generator)
    if units.crossed:
        assumed = Units(0 if units.of is None else len(units.of))
        alone = resampled(functions, assumed, count, generator)
        shrinks = [spread(*both, units) for both in zip(drawn, alone, strict=True)]
    else:
        shrinks = [1.0] * len(functions)
    finite = [values[np.isfinite(values)] for values in drawn]
    return [
        Drawn(values if 2 * len(values) > count else values[:0], shrink)
        for values, shrink in zip(finite, shrinks, strict=True)
    ]


def spread(texts: Floats, pairs: Floats, units: Units) -> float:
    """By how much the spread of resampled texts is more than that of the figure.

    Let ``u`` be what a pair adds to a figure's error. The error's variance is the sum of ``u v`` over all pairs that
    share a text, each with itself once: ``S - P``, where ``S`` sums over texts the squares of their pairs' sums, and
    ``P`` over pairs the squares (M. Fafchamps, F. Gubert, The formation of risk sharing networks, Journal of
    Development Economics 83, 2007; P. M. Aronow and others, Political Analysis 23, 2015). Resampled texts have
    ``S + P``: where pairs hardly depend on each other, three times too much. Resampled pairs have ``P``, so that what
    is wanted is the one less twice the other; never less than if pairs were independent. ``n texts`` lose a degree of
    freedom more than rows do, for which ``(n - 1) / (n - 2)`` makes up.

    Args:
        texts: A metric where texts are resampled, ``(resamples,)``.
        pairs: The same where pairs are.
        units: The texts.

    Returns:
        The ratio of the two standard deviations; NaN where there is none.
    """
    texts, pairs = texts[np.isfinite(texts)], pairs[np.isfinite(pairs)]
    if units.count < 3 or len(texts) < 2 or len(pairs) < 2 or texts.var() == 0:
        return float("nan")
    wanted = max(texts.var() - 2 * pairs.var(), pairs.var())
    return float(np.sqrt(wanted / texts.var()) * (units.count - 1) / (units.count - 2))


def zero_one(values: Floats) -> bool:
    """Whether values are zeros and ones."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def wilson(values: Floats, units: Units) -> tuple[float, float]:
    """Wilson's interval of a share.

    E. B. Wilson, JASA 22, 1927. Of clusters it is that of as many independent rows as would have the share's variance,
    with t for z (E. L. Korn, B. I. Graubard, Survey Methodology 24, 1998, who do so with another interval); never more
    than there are rows, and as many as there are clusters where no cluster differs from another.

    Args:
        values: Zeros and ones, ``(rows,)``.
        units: Rows, or clusters of them.

    Returns:
        Both ends; NaN of fewer than two units.
    """
    if units.count < 2:
        return float("nan"), float("nan")
    stats = scipy_stats()
    share, rows = float(values.mean()), float(len(values))
    score = stats.norm.ppf(_TAIL)
    if units.of is not None:
        score = stats.t.ppf(_TAIL, units.count - 1)
        sums = np.bincount(units.of, values - share)
        variance = units.count / (units.count - 1) * float((sums**2).sum()) / rows**2
        rows = min(rows, share * (1 - share) / variance) if variance > 0 else float(units.count)
    square = score**2 / rows
    centre = (share + square / 2) / (1 + square)
    half = score / (1 + square) * np.sqrt(share * (1 - share) / rows + square / (4 * rows))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def _bca(value: float, drawn: Drawn, function: Weighted, units: Units) -> tuple[float, float]:
    """Ends at corrected quantiles of the resamples."""
    if not np.isfinite(value) or units.count < 2 or not len(drawn.values) or not np.isfinite(drawn.shrink):
        return float("nan"), float("nan")
    stats = scipy_stats()
    # Resamples that equal the value count half; where all lie on one side, as if one did not.
    below = ((drawn.values < value).mean() + (drawn.values <= value).mean()) / 2
    least = 1 / (len(drawn.values) + 1)
    bias = stats.norm.ppf(np.clip(below, least, 1 - least))
    reach = np.sqrt(units.count / (units.count - 1)) * stats.t.ppf(_TAIL, units.count - 1)
    about = bias + np.array([-reach, reach])
    ends = np.quantile(drawn.values, stats.norm.cdf(bias + about / (1 - _skewness(function, units) * about)))
    low, high = value + drawn.shrink * (ends - value)
    return float(low), float(high)


def _skewness(function: Weighted, units: Units) -> float:
    """The acceleration of BCa, from the metric without each unit; 0 where some of these values are not defined."""
    without = left_out(function, units)
    about = without.mean() - without
    scale = float((about**2).sum()) ** 1.5
    return float((about**3).sum() / (6 * scale)) if scale > 0 else 0.0


def scipy_stats() -> Any:
    """The module ``scipy.stats``.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy import stats
    except ModuleNotFoundError as error:
        if error.name != "scipy":
            raise
        raise MissingExtraError(
            "scipy is not installed.",
            got="no package scipy",
            allowed="scipy 1",
            do='pip install "QEfficient[evaluate]"',
        ) from error
    return stats
