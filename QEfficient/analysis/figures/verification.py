"""The figure of the numeric check: how near the vectors are to HuggingFace's, the limits, the worst rows."""

from __future__ import annotations

import math
from collections.abc import Mapping

from QEfficient.numerics.verify import HISTOGRAM, Verification
from QEfficient.records import Json
from QEfficient.report.drawing import (
    BAD,
    GOOD,
    SERIES,
    WARN,
    Box,
    Figure,
    Plot,
    ReferenceLine,
    Tick,
    power_of_ten,
    upright,
)
from QEfficient.report.page import Tile
from QEfficient.report.scale import linear

_NINES = len(HISTOGRAM) + 1  # the axis counts the nines of a cosine: 0.999 is 3


def tile(result: Mapping[str, Json] | None) -> Tile:
    """Whether it passed."""
    found = read(result)
    if found is None:
        return Tile("verification", "–", "not run")
    note = f"min cosine {found.min_cosine:.7g}"
    return Tile("verification", "passed" if found.passed else "FAILED", note, GOOD if found.passed else BAD)


def verification(result: Mapping[str, Json] | None) -> Figure:
    """Histogram of the cosines on an axis that counts nines, with limit and minimum."""
    title = "Verification"
    found = read(result)
    if result is None or found is None:
        return Figure("verification", title, missing=_why_not(result))
    y = linear([1.0 * count for count in found.histogram])
    width = 100 / _NINES
    limit = found.limits.min_cosine
    boxes = [
        Box(place * width + 0.6, 100 - y.at(count), width - 1.2, y.at(count), _kind(place, limit), _tip(place, count))
        for place, count in enumerate(found.histogram)
        if count
    ]
    rules = [ReferenceLine(_nines(found.min_cosine) * width, f"worst {found.min_cosine:.7g}", WARN, upright=True)]
    if limit is not None:
        rules.append(ReferenceLine(_nines(limit) * width, f"limit {limit:g}", BAD, upright=True))
    ticks = tuple(Tick((place + 1) * width, power_of_ten(-place - 1)) for place in range(_NINES - 1))
    plot = Plot("1 - cosine; agreement grows to the right", "vectors", ticks, upright(y), (*boxes, *rules), 240)
    where = found.where[:1].upper() + found.where[1:]
    text = f"{where} against {found.reference}: {'passed' if found.passed else 'FAILED'} on {found.rows} rows."
    if found.failures:
        text += " " + "; ".join(found.failures) + "."
    columns = ("figure", "value", "limit")
    return Figure("verification", title, text, "", (plot,), columns=columns, table=_figures(found, result))


def worst_rows(result: Mapping[str, Json] | None) -> Figure:
    """The rows that agree least, as a table."""
    found = read(result)
    rows = () if found is None else found.worst
    table = tuple((one.row, f"{one.cosine:.8f}", f"{one.difference:.2e}") for one in rows)
    columns = ("row", "cosine", "difference ÷ norm")
    missing = _why_not(result) if found is None else "No rows were compared."
    return Figure("worst-rows", "Rows that agree least", missing=missing, columns=columns, table=table)


def read(result: Mapping[str, Json] | None) -> Verification | None:
    """The check's result, where one was made."""
    return Verification.from_json(result) if result and "histogram" in result else None


def _why_not(result: Mapping[str, Json] | None) -> str:
    if result is None:
        return "Nothing was compiled yet: compile the model first, or call model.verify()."
    return f"The program was compiled without the check (verify: {result.get('verify', 'not run')})."


def _figures(found: Verification, more: Mapping[str, Json]) -> tuple[tuple[str, ...], ...]:
    """The figures, and of a card's program that of the graph in fp32, which is verified first."""
    rows = [_row(*figure) for figure in found.figures]
    graph = read(more.get("graph"))
    if graph is not None:
        rows.append(_row("graph in fp32: min cosine", graph.min_cosine, graph.limits.min_cosine, "≥"))
    return tuple(rows)


def _row(name: str, value: float, limit: float | None, sign: str) -> tuple[str, ...]:
    return name, f"{value:.8g}", "" if limit is None else f"{sign} {limit:g}"


def _nines(cosine: float) -> float:
    return min(max(-math.log10(max(1 - cosine, 1e-12)), 0.0), float(_NINES))


def _kind(place: int, limit: float | None) -> str:
    """Bars that lie below the limit as a whole are marked."""
    return BAD if limit is not None and place < len(HISTOGRAM) and HISTOGRAM[place] <= limit else SERIES[0]


def _tip(place: int, count: int) -> str:
    if place == 0:
        return f"{count} vectors below {HISTOGRAM[0]}"
    return f"{count} vectors at {HISTOGRAM[place - 1]} or more"
