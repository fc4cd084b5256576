"""What a run found, as bars: a row for each contender, a panel for each corpus.

Drawn to the size at which the documents show it, so that nothing is scaled and the words stay as large as they are:
side by side for a desk, stacked for a phone, and one short panel for a first page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from benchmarks.side_by_side.figures import ONE, Found, kind, ordered, rounds
from benchmarks.side_by_side.ratios import CLASSES
from QEfficient.report.scale import linear

TITLES = {
    "short": ("short snippets", "texts/s"),
    "long": ("editorials", "texts/s"),
    ONE: ("one text at a time", "p50 in ms: less is better"),
}
COLOURS = {True: "#0b6e99", False: "#a9b4bb"}  # ours, theirs
_STEP, _TOP, _VALUE, _LINE = 20, 62, 44, 15  # a row, what stands above the rows, a bar's number, a line of words


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand, in pixels.

    Attributes:
        labels: Width of the contenders' names.
        bars: Width of the longest bar.
        stacked: Whether the panels stand one above the other, each with the names.
        size: Of the letters.
    """

    labels: int
    bars: int
    stacked: bool
    size: int

    def width(self, panels: int) -> int:
        """Of the whole drawing."""
        return self.labels + (1 if self.stacked else panels) * (self.bars + _VALUE)


WIDE, NARROW = Layout(244, 119, False, 12), Layout(212, 100, True, 11)


@dataclass(frozen=True, slots=True)
class Row:
    """A contender.

    Attributes:
        name: As the tables have it.
        ours: Whether it is this library.
        group: A line is drawn where it changes.
    """

    name: str
    ours: bool
    group: str | None


@dataclass(frozen=True, slots=True)
class Panel:
    """One scale of bars.

    Attributes:
        title, unit: What stands above it.
        spans: For each row the lower quartile, the median, which the bar shows, and the upper quartile.
        digits: Of a bar's number, behind the point.
    """

    title: str
    unit: str
    spans: Sequence[tuple[float, float, float]]
    digits: int = 0


def plot(found: Found, layout: Layout) -> str:
    """All contenders on all corpora; the thin line spans the middle half of the rounds."""
    classes = "; ".join(f"{name}: cosine ≥ {least}" for name, least in CLASSES)
    words = f"From top to bottom by class ({classes}). {found['machine']['cpu']}, {found['date'][:10]}."
    return _of_corpora(found, ordered(found), list(found["corpora"]), layout, words)


def first_page(found: Found) -> str:
    """The contenders with exact vectors on the first corpus."""
    exact = [one for one in ordered(found) if kind(one) == CLASSES[0][0]]
    corpus, machine = next(iter(found["corpora"])), found["machine"]
    words = f"{found['corpora'][corpus]['texts']} texts, {machine['threads']} CPUs ({machine['cpu']}), float32"
    return _of_corpora(found, exact, [corpus], NARROW, f"{words}, {found['date'][:10]}.")


def _of_corpora(found: Found, contenders: Sequence[Found], corpora: Sequence[str], layout: Layout, words: str) -> str:
    panels = [
        Panel(*TITLES[name], [_quartiles(found, one, name) for one in contenders], 1 if name == ONE else 0)
        for name in corpora
    ]
    return drawing([Row(one["name"], one["ours"], kind(one)) for one in contenders], panels, layout, words)


def _quartiles(found: Found, one: Found, corpus: str) -> tuple[float, float, float]:
    taken = rounds(one, corpus)
    return quartiles(
        [1e3 * t for t in taken] if corpus == ONE else [found["corpora"][corpus]["texts"] / t for t in taken]
    )


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower one, the median, the upper one."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(low), float(middle), float(high)


def drawing(rows: Sequence[Row], panels: Sequence[Panel], layout: Layout, words: str) -> str:
    """The SVG; ``words`` stand below it."""
    width, panel = layout.width(len(panels)), _TOP + _STEP * len(rows)
    legend = textwrap.wrap(words, int(width / layout.size / 0.58))
    height = panel * (len(panels) if layout.stacked else 1) + _LINE * len(legend) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="{layout.size}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for place, one in enumerate(panels):
        left, top = (0, place * panel) if layout.stacked else (place * (layout.bars + _VALUE), 0)
        if layout.stacked or not place:
            parts += _names(rows, layout, width, top + _TOP)
        parts += _panel(rows, one, (layout.labels + left, top + _TOP), layout.bars)
    for place, line in enumerate(legend):
        y = height - 8 - _LINE * (len(legend) - 1 - place)
        parts.append(f'<text x="6" y="{y}" fill="#555">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _names(rows: Sequence[Row], layout: Layout, width: int, top: int) -> list[str]:
    parts = []
    for place, one in enumerate(rows):
        y = top + _STEP * place
        if place and one.group != rows[place - 1].group:
            parts.append(f'<path d="M6 {y}H{width - 6}" stroke="#ddd"/>')
        weight = ' font-weight="bold"' if one.ours else ""
        parts.append(f'<text x="{layout.labels - 8}" y="{y + 14}" text-anchor="end"{weight}>{escape(one.name)}</text>')
    return parts


def _panel(rows: Sequence[Row], panel: Panel, corner: tuple[int, int], width: int) -> list[str]:
    left, top = corner
    scale = linear((high for _, _, high in panel.spans), ticks=3)
    parts = [
        f'<text x="{left}" y="{top - 42}" font-weight="bold">{panel.title}</text>',
        f'<text x="{left}" y="{top - 27}" fill="#555">{panel.unit}</text>',
    ]
    for tick in scale.ticks:
        x = left + width * scale.at(tick) / 100
        parts.append(f'<path d="M{x:.1f} {top - 5}V{top + _STEP * len(rows)}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{x:.1f}" y="{top - 9}" text-anchor="middle" fill="#555">{tick:g}</text>')
    for place, (one, (low, middle, high)) in enumerate(zip(rows, panel.spans, strict=True)):
        y = top + _STEP * place
        start, end, far = (left + width * scale.at(value) / 100 for value in (low, middle, high))
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{end - left:.1f}" height="14" fill="{COLOURS[one.ours]}"/>')
        parts.append(f'<path d="M{start:.1f} {y + 10}H{far:.1f}" stroke="#222"/>')
        parts.append(f'<text x="{far + 5:.1f}" y="{y + 14}" fill="#333">{middle:.{panel.digits}f}</text>')
    return parts
