"""What a figure is made of, before it is SVG: records that the template draws as they are.

The marks are drawn here rather than by a plotting library. A static SVG of matplotlib has its colours and its size of
text fixed: no dark page, and no text that can be read on a phone; and it brings ten packages. Here every position is
a share of the width, so that a figure stretches while text and strokes keep their size, and every colour is a class
of the style sheet.

Positions are per cent of the drawing, from its left and its top.
"""

from __future__ import annotations

from dataclasses import dataclass

from QEfficient.report.formatting import number
from QEfficient.report.scale import Scale

# Classes of the style sheet. The first five are series in order of appearance, the others say what a mark means.
SERIES = ("one", "two", "three", "four", "five")
GOOD, WARN, BAD, MUTED = "good", "warn", "bad", "muted"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, and the grid line there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One point. ``hollow`` ones are less certain."""

    x: float
    y: float
    kind: str
    tip: str
    hollow: bool = False
    radius: float = 4.5


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle: a bar of a histogram, or a span. ``shade``: how much of its colour it has, up to 1."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    tip: str
    shade: float = 1.0


@dataclass(frozen=True, slots=True)
class Whisker:
    """An interval: a line from ``low`` to ``high`` with a cap at each end, ``at`` a place across it.

    It lies level, and ``at`` is counted from the top; an ``upright`` one stands, and ``at`` is counted from the left.
    """

    low: float
    high: float
    at: float
    kind: str
    tip: str
    upright: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Straight pieces from point to point."""

    points: tuple[tuple[float, float], ...]
    kind: str
    tip: str


@dataclass(frozen=True, slots=True)
class ReferenceLine:
    """A line across the drawing at one value, with its name above or ``below`` it; an ``upright`` one has it on top."""

    at: float
    label: str
    kind: str
    upright: bool = False
    below: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A word inside the drawing, its middle at ``x``; its foot at ``y``, or its middle where it is ``within`` a box."""

    x: float
    y: float
    text: str
    within: bool = False


Mark = Dot | Box | Whisker | Line | ReferenceLine | Note


@dataclass(frozen=True, slots=True)
class Plot:
    """Two axes and what is drawn between them.

    Attributes:
        x_label, y_label: What the axes show, with the unit.
        x_ticks, y_ticks: Their labels.
        marks: What is drawn, back to front.
        height: Of the drawing in pixels; its width is that of the page.
        grid: Whether a line leads from each label through the drawing.
    """

    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    height: int = 280
    grid: bool = True

    @property
    def gutter(self) -> int:
        """Pixels that the labels of the upright axis need."""
        return 12 + 7 * max((len(tick.label) for tick in self.y_ticks), default=0)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a bar chart: words above, marks below. The heights of its boxes fill the line.

    Attributes:
        label: What it is about; wraps where it is long.
        value: Its value in words.
        marks: Boxes, whiskers and dots, back to front.
    """

    label: str
    value: str
    marks: tuple[Dot | Box | Whisker, ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """Lines of bars below each other, with an axis where ``ticks`` are given."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the report.

    Attributes:
        name: Its anchor in the page.
        title: Its heading.
        text: What it shows.
        reading: How to read the drawing.
        drawings: What is drawn; none when there is nothing to draw.
        missing: Why there is no drawing, and how to get one; of a table: what an empty one means.
        legend: Class → word.
        columns, table: The same numbers as a table.
    """

    name: str
    title: str
    text: str = ""
    reading: str = ""
    drawings: tuple[Plot | Bars, ...] = ()
    missing: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    columns: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()


def across(scale: Scale) -> tuple[Tick, ...]:
    """Ticks of a level axis."""
    return tuple(Tick(scale.at(value), _short(value, scale)) for value in scale.ticks)


def upright(scale: Scale) -> tuple[Tick, ...]:
    """Ticks of an upright axis, which grows from the bottom."""
    return tuple(Tick(100 - scale.at(value), _short(value, scale)) for value in scale.ticks)


def bar(scale: Scale, value: float, kind: str, tip: str) -> Box:
    """A bar of a :class:`Row`, from the axis' low end to ``value``."""
    return Box(0, 0, scale.at(value), 100, kind, tip)


def power_of_ten(power: int) -> str:
    """``-3`` → ``"10⁻³"``."""
    return "10" + str(power).translate(_RAISED)


def _short(value: float, scale: Scale) -> str:
    if scale.log and not 1e-3 <= value < 1e5:
        mantissa, _, power = f"{value:.0e}".partition("e")
        return ("" if mantissa == "1" else f"{mantissa}·") + power_of_ten(int(power))
    return number(value)
