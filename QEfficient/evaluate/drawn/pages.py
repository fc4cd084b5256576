"""A comparison and an evaluation as pages of a report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from QEfficient.evaluate.drawn import figures, tables, words
from QEfficient.evaluate.drawn.figures import CONFUSED
from QEfficient.evaluate.metrics.classification import confusion
from QEfficient.report import drawing
from QEfficient.report.formatting import count, number
from QEfficient.report.page import Page, Tile

if TYPE_CHECKING:
    from QEfficient.evaluate.comparison.record import ModelComparison
    from QEfficient.evaluate.result import Evaluation

_WITHIN = re.compile(r"(?<=,) (?=-?\d)|(?<=\bp) (?=[<0])|(?<=<) (?=0)|(?<=\d) (?=ms|[kMGTP]?B\b|rows|−)")


def comparison_page(comparison: ModelComparison) -> Page:
    """Plots first, then the whole table, then the rows of most disagreement."""
    matrices = [
        figures.confusion(f"confusion-{place}", one.name, one.confusion, comparison.labels)
        for place, one in enumerate(comparison.models, 1)
        if one.confusion is not None
    ]
    return Page(
        name=f"{count(len(comparison.models), 'model')} on {comparison.data}",
        kind="comparison",
        about=f"{comparison.task}, compared",
        created=comparison.created,
        versions=comparison.versions,
        digest=" · ".join(
            (
                f"data {comparison.digest[:16]}",
                f"seed {comparison.seed}",
                comparison.machine,
                count(comparison.cpus, "CPU"),
            )
        ),
        tiles=_tiles(comparison),
        figures=(figures.metrics(comparison), figures.quality_and_speed(comparison), *matrices),
        tables=(_table(comparison), _disagreements(comparison)),
    )


def evaluation_page(evaluation: Evaluation) -> Page:
    """The metrics with their intervals, and what was taken for what."""
    main = evaluation.metrics[0]
    drawn = [figures.own_metrics(evaluation.metrics, evaluation.rows)]
    outcome = evaluation.outcome
    if evaluation.task in CONFUSED:
        drawn.append(figures.confusion("confusion", evaluation.model, confusion(outcome), outcome.labels))
    table = tuple(
        (words.metric_name(one), words.value(one.value), words.interval(one.low, one.high))
        for one in evaluation.metrics
    )
    return Page(
        name=evaluation.model,
        kind="evaluation",
        about=f"{evaluation.task} on {evaluation.data}, run by {evaluation.ran}",
        versions=evaluation.versions,
        digest=f"data {evaluation.digest[:16]} · seed {evaluation.seed}",
        tiles=(
            Tile(words.metric_name(main), words.value(main.value), words.interval(main.low, main.high)),
            Tile("rows", f"{evaluation.rows:,}", evaluation.data),
        ),
        figures=tuple(drawn),
        tables=(drawing.Figure("table", "The numbers", columns=("metric", "value", "95 % interval"), table=table),),
    )


def _tiles(comparison: ModelComparison) -> tuple[Tile, ...]:
    models = comparison.models
    sign = 1 if models[0].metrics[0].higher_is_better else -1
    best = max(models, key=lambda one: _known(sign * one.metrics[0].value))
    main = best.metrics[0]
    tiles = [
        Tile("rows", f"{comparison.rows:,}", comparison.data),
        Tile(f"best {main.name}", words.value(main.value), best.name),
    ]
    timed = [(one.measured.speed.rate, one.name) for one in models if one.measured.speed is not None]
    if timed:
        rate, name = max(timed)
        tiles.append(Tile(f"most {words.unit(comparison.models)}/s", number(rate), name))
    sized = [(one.measured.disk, one.name) for one in models if one.measured.disk is not None]
    if sized:
        least, name = min(sized)
        tiles.append(Tile("smallest on disk", words.bytes_of(least), name))
    return tuple(tiles)


def _known(value: float) -> float:
    return value if value == value else float("-inf")  # a metric that is not defined is the best of none


def _table(comparison: ModelComparison) -> drawing.Figure:
    text = " ".join(tables.about(comparison))
    heads, rows = tables.columns(comparison), tuple(tuple(map(_kept, row)) for row in tables.rows(comparison))
    return drawing.Figure("table", "All numbers", text, columns=heads, table=rows)


def _kept(cell: str) -> str:
    """A cell whose lines break between numbers, and not within an interval, or before a unit."""
    return _WITHIN.sub("\u00a0", cell).replace("–", "–\u2060")


def _disagreements(comparison: ModelComparison) -> drawing.Figure:
    names = tuple(one.name for one in comparison.models)
    rows = tuple((str(one.row), one.text, one.right, *one.answers) for one in comparison.disagreements)
    missing = "They agree on every row." if len(names) > 1 else "There is only one model."
    heads = ("row", "text", "right", *names)
    return drawing.Figure("disagreements", "Where they disagree most", missing=missing, columns=heads, table=rows)
