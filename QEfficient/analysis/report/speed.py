"""The figure of predicted speed, with its error bands."""

from __future__ import annotations

from collections.abc import Callable

from QEfficient.analysis.record import Analysis, SpeedPoint
from QEfficient.analysis.report.drawing import SERIES, Dot, Figure, Path, Plot, Tick, upright
from QEfficient.analysis.report.scale import logarithmic
from QEfficient.analysis.report.words import label, number

Band = Callable[[SpeedPoint], tuple[float, float, float]]  # low, predicted, high


def speed(analysis: Analysis) -> Figure:
    """Samples a second and milliseconds for each bucket, one series a card and objective."""
    title = "Predicted speed"
    points = analysis.predictions
    if not points:
        return Figure("speed", title, missing="No speed is predicted for this model.")
    series = list(dict.fromkeys(map(_series, points)))[: len(SERIES)]
    text = "From a model fitted on published measurements, with the band that holds 80 % of cases."
    reading = "Hollow: outside of what was measured. The table has the options of each point."
    rate = _plot(
        points, series, "samples a second", lambda one: _spread(one.samples_per_second_band, one.samples_per_second)
    )
    wait = _plot(points, series, "latency in ms", lambda one: _spread(one.latency_ms_band, one.latency_ms))
    columns = ("card", "bucket", "objective", "options", "samples/s", "latency", "outside of what was measured")
    legend = tuple(zip(SERIES, series, strict=False))
    return Figure(
        "speed", title, text, reading, (rate, wait), legend=legend, columns=columns, table=tuple(map(_row, points))
    )


def _plot(points: tuple[SpeedPoint, ...], series: list[str], name: str, band: Band) -> Plot:
    shown = [one for one in points if _series(one) in series]
    places = list(dict.fromkeys(one.bucket for one in sorted(shown, key=lambda one: one.bucket)))
    width = 100 / len(places)
    y = logarithmic(value for one in shown for value in band(one))
    marks: list[Path | Dot] = []
    for one in shown:
        low, middle, high = band(one)
        number_of = series.index(_series(one))
        x = width * (places.index(one.bucket) + (number_of + 1) / (len(series) + 1))
        kind, tip = SERIES[number_of], f"{_series(one)}, {label(one.bucket)}: {_words(band(one))} {name}"
        marks.append(Path(((x, 100 - y.at(low)), (x, 100 - y.at(high))), f"{kind} band", tip))
        marks.append(Dot(x, 100 - y.at(middle), kind, tip, hollow=bool(one.extrapolated), radius=3.5))
    ticks = tuple(Tick(width * (place + 0.5), label(bucket)) for place, bucket in enumerate(places))
    return Plot("bucket", name, ticks, upright(y), tuple(marks), 240)


def _series(one: SpeedPoint) -> str:
    return f"{one.card}, {one.objective}" if one.objective else one.card


def _spread(band: tuple[float, float], middle: float) -> tuple[float, float, float]:
    return band[0], middle, band[1]


def _words(band: tuple[float, float, float]) -> str:
    return f"{number(band[1])} ({number(band[0])} to {number(band[2])})"


def _row(one: SpeedPoint) -> tuple[str, ...]:
    return (
        one.card,
        label(one.bucket),
        one.objective or "as given",
        ", ".join(f"{name}={value}" for name, value in one.options.items() if value is not None),
        _words(_spread(one.samples_per_second_band, one.samples_per_second)),
        _words(_spread(one.latency_ms_band, one.latency_ms)) + " ms",
        "; ".join(one.extrapolated) or "no",
    )
