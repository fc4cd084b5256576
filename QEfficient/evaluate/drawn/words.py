"""The cells of a comparison's tables: a metric, a difference, a speed, a size, as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from QEfficient.report.formatting import number, size

if TYPE_CHECKING:
    from QEfficient.evaluate.comparison.record import ComparedModel
    from QEfficient.evaluate.record import MetricValue

FRONT = "●"


def unit(models: Sequence[ComparedModel]) -> str:
    """What is counted in ``…/s``: the same for all models that were measured together."""
    return next((one.measured.speed.unit for one in models if one.measured.speed is not None), "rows")


def value(figure: float) -> str:
    """A metric's value: four decimals, so that rows stand below each other; large ones as other numbers are.

    >>> value(0.85521), value(-0.5), value(float("nan")), value(12345.6)
    ('0.8552', '-0.5000', 'NaN', '12.3 k')
    """
    return f"{_rounded(figure, 4):.4f}" if abs(figure) < 100 else number(figure)


def interval(low: float, high: float) -> str:
    """The ends of an interval, ``""`` where none can be told.

    >>> interval(0.83241, 0.87602), interval(float("nan"), float("nan"))
    ('[0.832, 0.876]', '')
    """
    return "" if math.isnan(low) or math.isnan(high) else f"[{_end(low)}, {_end(high)}]"


def probability(p: float) -> str:
    """``p`` of a test.

    >>> probability(0.0312), probability(0.00001), probability(float("nan"))
    ('p 0.031', 'p < 0.001', '')
    """
    return "" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def metric_name(figure: MetricValue) -> str:
    """A metric's name; of an error it says that less is better."""
    return figure.name if figure.higher_is_better else f"{figure.name} (less is better)"


def with_interval(figure: MetricValue) -> str:
    """Value and interval on one line."""
    return f"{value(figure.value)} {interval(figure.low, figure.high)}".rstrip()


def difference(model: ComparedModel, name: str) -> tuple[str, ...]:
    """Difference to the first row, its interval, ``p``; nothing for the first row, and where it is not defined."""
    found = model.differences.get(name)
    if found is None:
        return ()
    lines = (_signed(found.value), interval(found.low, found.high), probability(model.adjusted[name]))
    return tuple(filter(None, lines))


def changed(model: ComparedModel) -> str:
    """Rows whose answer changed both ways."""
    return "" if model.gained is None else f"+{model.gained} −{model.lost} rows"


def rate(model: ComparedModel) -> tuple[str, ...]:
    """Rows a second, and the middle half of the rounds."""
    speed = model.measured.speed
    if speed is None:
        return ()
    low, high = speed.quartiles
    return number(speed.rate), f"{number(low)}–{number(high)}"


def latency(model: ComparedModel) -> str:
    """The median time of one row alone."""
    return "" if model.measured.speed is None else f"{1e3 * model.measured.speed.p50:.2f} ms"


def bytes_of(known: int | None) -> str:
    """A size, where there is one."""
    return "" if known is None else size(known)


def _end(one: float) -> str:
    return f"{_rounded(one, 3):.3f}" if abs(one) < 100 else number(one)


def _signed(one: float) -> str:
    return f"{_rounded(one, 4):+.4f}" if abs(one) < 100 else f"{'+' if one > 0 else ''}{number(one)}"


def _rounded(one: float, decimals: int) -> float:
    return round(one, decimals) + 0.0  # no -0.0
