"""The figure of predicted speed, with its error bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from QEfficient.analysis.record import SpeedPoint
from QEfficient.report.drawing import SERIES, Dot, Figure, Line, Plot, Tick, upright
from QEfficient.report.formatting import label, number
from QEfficient.report.page import Tile
from QEfficient.report.scale import logarithmic

Band = Callable[[SpeedPoint], tuple[float, float, float]]  # predicted, low, high


def tile(points: Sequence[SpeedPoint]) -> Tile:
    """The most samples a second at the longest bucket of the first card."""
    if not points:
        return Tile("samples/s, predicted", "–", "not predicted")
    longest = max(one.bucket for one in points)
    shown = [one for one in points if (one.card, one.bucket) == (points[0].card, longest)]
    best = max(shown, key=lambda one: one.samples_per_second)
    return Tile("samples/s, predicted", number(best.samples_per_second), f"{best.card}, at {label(best.bucket)}")


def speed(points: Sequence[SpeedPoint]) -> Figure:
    """Samples a second and milliseconds for each bucket of the first card, one series an objective."""
    title = "Predicted speed"
    if not points:
        return Figure("speed", title, missing="No speed is predicted for this model: only text encoders were measured.")
    card = points[0].card
    shown = [one for one in points if one.card == card]
    series = list(dict.fromkeys(map(_series, shown)))
    text = "From a model fitted on published measurements, with the band that holds 80 % of cases."
    reading = f"On the card {card}. Hollow: outside of what was measured. The table has the options of each point"
    reading += " and the other cards." if len(shown) < len(points) else "."
    rate = _plot(shown, series, "samples a second", lambda one: (one.samples_per_second, *one.samples_per_second_band))
    wait = _plot(shown, series, "latency in ms", lambda one: (one.latency_ms, *one.latency_ms_band))
    columns = ("card", "bucket", "objective", "options", "samples/s", "latency", "outside of what was measured")
    legend = tuple(zip(SERIES, series, strict=False))
    return Figure("speed", title, text, reading, (rate, wait), "", legend, columns, tuple(map(_row, points)))


def _plot(shown: Sequence[SpeedPoint], series: Sequence[str], name: str, band: Band) -> Plot:
    places = sorted({one.bucket for one in shown})
    width = 100 / len(places)
    y = logarithmic(value for one in shown for value in band(one))
    marks: list[Line | Dot] = []
    for one in shown:
        middle, low, high = band(one)
        place = series.index(_series(one))
        x = width * (places.index(one.bucket) + (place + 1) / (len(series) + 1))
        kind = SERIES[place % len(SERIES)]
        tip = f"{one.card}, {_series(one)}, {label(one.bucket)}: {_words(*band(one))} {name}"
        marks.append(Line(((x, 100 - y.at(low)), (x, 100 - y.at(high))), f"{kind} band", tip))
        marks.append(Dot(x, 100 - y.at(middle), kind, tip, hollow=bool(one.extrapolated), radius=3.5))
    ticks = tuple(Tick(width * (place + 0.5), label(bucket)) for place, bucket in enumerate(places))
    return Plot("bucket", name, ticks, upright(y), tuple(marks), 240)


def _series(one: SpeedPoint) -> str:
    return f"best {one.objective}" if one.objective else "options as given"


def _words(middle: float, low: float, high: float) -> str:
    return f"{number(middle)} ({number(low)} to {number(high)})"


def _row(one: SpeedPoint) -> tuple[str, ...]:
    return (
        one.card,
        label(one.bucket),
        one.objective or "as given",
        ", ".join(f"{name}={value}" for name, value in one.options.items() if value is not None),
        _words(one.samples_per_second, *one.samples_per_second_band),
        _words(one.latency_ms, *one.latency_ms_band) + " ms",
        "; ".join(one.extrapolated) or "no",
    )
