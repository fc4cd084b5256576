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


def plot(found: Found, layout: Layout) -> str:
    """All contenders on all corpora; the thin line spans the middle half of the rounds."""
    classes = "; ".join(f"{name}: cosine ≥ {least}" for name, least in CLASSES)
    words = f"From top to bottom by class ({classes}). {found['machine']['cpu']}, {found['date'][:10]}."
    return _drawing(found, ordered(found), list(found["corpora"]), layout, words)


def first_page(found: Found) -> str:
    """The contenders with exact vectors on the first corpus."""
    exact = [one for one in ordered(found) if kind(one) == CLASSES[0][0]]
    corpus, machine = next(iter(found["corpora"])), found["machine"]
    words = f"{found['corpora'][corpus]['texts']} texts, {machine['threads']} CPUs ({machine['cpu']}), float32"
    return _drawing(found, exact, [corpus], NARROW, f"{words}, {found['date'][:10]}.")


def _drawing(found: Found, contenders: Sequence[Found], corpora: Sequence[str], layout: Layout, words: str) -> str:
    width, panel = layout.width(len(corpora)), _TOP + _STEP * len(contenders)
    legend = textwrap.wrap(words, int(width / layout.size / 0.58))
    height = panel * (len(corpora) if layout.stacked else 1) + _LINE * len(legend) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="{layout.size}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for place, corpus in enumerate(corpora):
        left, top = (0, place * panel) if layout.stacked else (place * (layout.bars + _VALUE), 0)
        if layout.stacked or not place:
            parts += _names(contenders, layout, width, top + _TOP)
        parts += _panel(found, contenders, corpus, (layout.labels + left, top + _TOP), layout.bars)
    for place, line in enumerate(legend):
        y = height - 8 - _LINE * (len(legend) - 1 - place)
        parts.append(f'<text x="6" y="{y}" fill="#555">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _names(contenders: Sequence[Found], layout: Layout, width: int, top: int) -> list[str]:
    parts = []
    for place, one in enumerate(contenders):
        y = top + _STEP * place
        if place and kind(one) != kind(contenders[place - 1]):
            parts.append(f'<path d="M6 {y}H{width - 6}" stroke="#ddd"/>')
        weight = ' font-weight="bold"' if one["ours"] else ""
        parts.append(
            f'<text x="{layout.labels - 8}" y="{y + 14}" text-anchor="end"{weight}>{escape(one["name"])}</text>'
        )
    return parts


def _panel(found: Found, contenders: Sequence[Found], corpus: str, corner: tuple[int, int], width: int) -> list[str]:
    left, top = corner
    values = [_quartiles(found, one, corpus) for one in contenders]
    scale = linear((high for _, _, high in values), ticks=3)
    title, unit = TITLES[corpus]
    parts = [
        f'<text x="{left}" y="{top - 42}" font-weight="bold">{title}</text>',
        f'<text x="{left}" y="{top - 27}" fill="#555">{unit}</text>',
    ]
    for tick in scale.ticks:
        x = left + width * scale.at(tick) / 100
        parts.append(f'<path d="M{x:.1f} {top - 5}V{top + _STEP * len(contenders)}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{x:.1f}" y="{top - 9}" text-anchor="middle" fill="#555">{tick:g}</text>')
    for place, (one, (low, middle, high)) in enumerate(zip(contenders, values, strict=True)):
        y = top + _STEP * place
        start, end, far = (left + width * scale.at(value) / 100 for value in (low, middle, high))
        colour = COLOURS[bool(one["ours"])]
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{end - left:.1f}" height="14" fill="{colour}"/>')
        parts.append(f'<path d="M{start:.1f} {y + 10}H{far:.1f}" stroke="#222"/>')
        parts.append(f'<text x="{far + 5:.1f}" y="{y + 14}" fill="#333">{middle:.{1 if corpus == ONE else 0}f}</text>')
    return parts


def _quartiles(found: Found, one: Found, corpus: str) -> tuple[float, float, float]:
    taken = rounds(one, corpus)
    values = [1e3 * t for t in taken] if corpus == ONE else [found["corpora"][corpus]["texts"] / t for t in taken]
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(low), float(middle), float(high)
