"""What a comparison and an evaluation look like: metrics with intervals, quality against speed, confusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from QEfficient.evaluate.drawn import words
from QEfficient.report import drawing
from QEfficient.report.drawing import SERIES, Bars, Box, Dot, Line, Note, Plot, Row, Tick, Whisker, across, upright
from QEfficient.report.formatting import number
from QEfficient.report.scale import Scale, around, logarithmic

if TYPE_CHECKING:
    from QEfficient.evaluate.comparison.record import ComparedModel, ModelComparison
    from QEfficient.evaluate.record import MetricValue

CONFUSED = ("text-classification", "image-classification", "audio-classification")
"""Tasks of which there is a confusion matrix: each row has one label of a few."""

_CLASSES = 20  # of a confusion matrix: more would not be told apart
_NAMED = 3  # classes whose names fit below a matrix; more have numbers there
_NAME = 18  # characters of a class's name beside a matrix


def metrics(comparison: ModelComparison) -> drawing.Figure:
    """A drawing a metric, in it a line a model."""
    models = comparison.models
    drawings = tuple(
        _intervals(
            [(f"{place + 1} {one.name}", one.metrics[metric], _kind(place)) for place, one in enumerate(models)],
            words.metric_name(models[0].metrics[metric]),
        )
        for metric in range(len(models[0].metrics))
    )
    reading = "A dot is the value on these rows, the line around it its 95 % interval. No axis needs to begin at zero."
    return drawing.Figure("metrics", "Quality", f"On {comparison.rows:,} rows.", reading, drawings)


def own_metrics(figures: Sequence[MetricValue], rows: int) -> drawing.Figure:
    """The metrics of one model: on one axis where all lie between -1 and 1, else on one each."""
    lines = [(words.metric_name(one), one, "one") for one in figures]
    alike = all(abs(end) <= 1 for one in figures for end in (one.value, one.low, one.high) if not math.isnan(end))
    drawings = (_intervals(lines, ""),) if alike else tuple(_intervals([one], "") for one in lines)
    reading = "A dot is the value on these rows, the line around it its 95 % interval. No axis needs to begin at zero."
    return drawing.Figure("metrics", "Quality", f"On {rows:,} rows.", reading, drawings)


def _intervals(lines: Sequence[tuple[str, MetricValue, str]], label: str) -> Bars:
    scale = around(end for _, one, _ in lines for end in (one.value, one.low, one.high))
    rows = tuple(Row(name, words.with_interval(one), _dot(name, one, kind, scale)) for name, one, kind in lines)
    return Bars(rows, across(scale), label)


def _dot(name: str, one: MetricValue, kind: str, scale: Scale) -> tuple[Dot | Box | Whisker, ...]:
    """A dot on its whisker; nothing where the metric is not defined."""
    tip = f"{name}: {one.name} {words.with_interval(one)}"
    if math.isnan(one.value):
        return ()
    dot = Dot(scale.at(one.value), 50, kind, tip, radius=5)
    if math.isnan(one.low) or math.isnan(one.high):
        return (dot,)
    return (Whisker(scale.at(one.low), scale.at(one.high), 50, kind, tip), dot)


def quality_and_speed(comparison: ModelComparison) -> drawing.Figure:
    """The main metric against rows a second, with the Pareto front."""
    title, unit = "Quality against speed", words.unit(comparison.models)
    known = [(place, one) for place, one in enumerate(comparison.models) if one.front is not None]
    if not known:
        missing = "Speed was not measured, or the main metric is not defined."
        return drawing.Figure("pareto", title, missing=missing)
    x = logarithmic(end for _, one in known for end in _rates(one))
    y = around(end for _, one in known for end in _ends(one.metrics[0]))
    marks: list[Whisker | Dot | Note | Line] = [_front([one for _, one in known], x, y)]
    for place, one in known:
        marks += _point(place, one, x, y)
    main = comparison.models[0].metrics[0]
    reading = "Filled: on the front, no model is at least as good in both and better in one. The lines at a dot are "
    reading += "the metric's interval and the middle half of the rounds. Speed is on a logarithmic axis."
    legend = tuple((_kind(place), f"{place + 1} {one.name}") for place, one in known)
    plot = Plot(f"{unit} a second", words.metric_name(main), across(x), upright(y), tuple(marks), 320)
    return drawing.Figure("pareto", title, "", reading, (plot,), legend=legend)


def _rates(one: ComparedModel) -> tuple[float, ...]:
    speed = one.measured.speed
    return () if speed is None else (speed.rate, *speed.quartiles)


def _ends(one: MetricValue) -> tuple[float, float, float]:
    return one.value, one.low, one.high


def _point(place: int, one: ComparedModel, x: Scale, y: Scale) -> list[Whisker | Dot | Note | Line]:
    rate, slow, fast = _rates(one)
    quality, kind = one.metrics[0], _kind(place)
    tip = f"{one.name}: {quality.name} {words.with_interval(quality)}, {number(rate)} a second"
    across_at, up_at = x.at(rate), 100 - y.at(quality.value)
    marks: list[Whisker | Dot | Note | Line] = [Whisker(x.at(slow), x.at(fast), up_at, kind, tip)]
    if not math.isnan(quality.low) and not math.isnan(quality.high):
        marks.append(Whisker(100 - y.at(quality.high), 100 - y.at(quality.low), across_at, kind, tip, upright=True))
    marks.append(Dot(across_at, up_at, kind, tip, hollow=not one.front, radius=6))
    return [*marks, Note(across_at + (2.5 if across_at < 90 else -2.5), up_at - 3, str(place + 1))]


def _front(models: Sequence[ComparedModel], x: Scale, y: Scale) -> Line:
    """The edge of what is reached: along it, quality falls where speed grows."""
    points = sorted((x.at(_rates(one)[0]), 100 - y.at(one.metrics[0].value)) for one in models if one.front)
    steps = [(0.0, points[0][1])]
    for (at, level), following in zip(points, [*points[1:], None], strict=True):
        steps += [(at, level), (at, 100.0 if following is None else following[1])]
    return Line(tuple(steps), "muted", "the Pareto front")


def confusion(anchor: str, model: str, counts: NDArray[np.int64], labels: Sequence[str]) -> drawing.Figure:
    """What is right from top to bottom, what was answered from left to right.

    Args:
        anchor: Of the figure.
        model: Its name.
        counts: Shape ``(labels, labels)``.
        labels: Their names; a position without one has its number.
    """
    title = f"Confusion: {model}"
    names = [labels[place] if place < len(labels) else str(place) for place in range(len(counts))]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    reading = "A row is what is right, a column what was answered; the more colour, the larger the share of the row."
    about = ""
    if len(counts) > _CLASSES:
        drawn = most_confused(counts, _CLASSES)
        about = f"The {_CLASSES} of {len(counts)} labels that were confused most often; the JSON has all of them. "
        about += f"{_left_out(counts, drawn)} are with labels that are not drawn."
        reading += " A row's share is of all its rows, those answered with other labels too."
        counts, shares = counts[np.ix_(drawn, drawn)], shares[np.ix_(drawn, drawn)]
        names = [names[place] for place in drawn]
    return drawing.Figure(anchor, title, about, reading, (_matrix(counts, shares, names),))


def most_confused(counts: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """The labels with most errors, as what is right or as what was answered, in their own order.

    Args:
        counts: Shape ``(labels, labels)``.
        most: So many labels. Of equals the first are taken.
    """
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return np.sort(np.argsort(-errors, kind="stable")[:most])


def _left_out(counts: NDArray[np.int64], drawn: NDArray[np.intp]) -> str:
    """How many errors are not drawn, of how many."""
    within = counts[np.ix_(drawn, drawn)]
    total = int(counts.sum() - counts.trace())
    return f"{total - int(within.sum() - within.trace()):,} of {total:,} errors"


def _matrix(counts: NDArray[np.int64], shares: NDArray[np.float64], names: Sequence[str]) -> Plot:
    size = len(counts)
    step = 100 / size
    marks: list[Box | Note] = []
    for right in range(size):
        for given in range(size):
            many, share = int(counts[right, given]), float(shares[right, given])
            tip = f"{names[right]} answered as {names[given]}: {many} ({100 * share:.1f} % of the row)"
            kind = "three" if right == given else "two"
            left, top = given * step, right * step
            if many:
                marks.append(
                    Box(left + 0.4, top + 0.4, step - 0.8, step - 0.8, kind, tip, 0.1 + 0.5 * math.sqrt(share))
                )
            marks.append(Note(left + step / 2, top + step / 2, str(many), within=True))
    short = [one if len(one) <= _NAME else one[: _NAME - 1] + "…" for one in names]
    numbered = size > _NAMED or max(map(len, short)) > _NAME // 2
    below = [str(place + 1) if numbered else one for place, one in enumerate(short)]
    beside = [f"{one} {place + 1}" if numbered else one for place, one in enumerate(short)]
    return Plot(
        "answered",
        "right",
        tuple(Tick((place + 0.5) * step, one) for place, one in enumerate(below)),
        tuple(Tick((place + 0.5) * step, one) for place, one in enumerate(beside)),
        tuple(marks),
        max(110, 32 * size),
        grid=False,
    )


def _kind(place: int) -> str:
    return SERIES[place % len(SERIES)]
