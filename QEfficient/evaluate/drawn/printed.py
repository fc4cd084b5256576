"""A comparison and an evaluation as a terminal or notebook prints them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from QEfficient.evaluate.drawn import tables, words
from QEfficient.report.formatting import count

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from QEfficient.evaluate.comparison.disagreement import Disagreement
    from QEfficient.evaluate.comparison.record import ComparedModel, ModelComparison
    from QEfficient.evaluate.record import MetricValue
    from QEfficient.evaluate.result import Evaluation

WIDTH = 100  # columns of the printed tables where they go to no terminal
_ACROSS = 3  # metrics beside each other, below the main table


def text(shown: ModelComparison | Evaluation) -> str:
    """What is printed, as text of :data:`WIDTH` columns."""
    from rich.console import Console

    written = io.StringIO()
    Console(file=written, width=WIDTH).print(shown)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def comparison_parts(comparison: ModelComparison) -> Group:
    """The table, further metrics below it, what was run, and the rows of most disagreement."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_main(comparison)]
    for start in range(1, len(comparison.models[0].metrics), _ACROSS):
        parts.append(_further(comparison, start))
    parts += [Text(line) for line in tables.about(comparison)]
    if comparison.disagreements:
        parts.append(Text("\nWhere they disagree most"))
    parts += [line for one in comparison.disagreements for line in _disagreement(one)]
    return Group(*parts)


def evaluation_parts(evaluation: Evaluation) -> Group:
    """A line a metric, and what was run."""
    from rich.console import Group
    from rich.text import Text

    figures = evaluation.metrics
    shown = _table(
        [
            ("metric", [words.metric_name(one) for one in figures]),
            ("value", [words.value(one.value) for one in figures]),
            ("95 % interval", [words.interval(one.low, one.high) for one in figures]),
        ]
    )
    lines = [
        f"{evaluation.task} on {evaluation.data}: {count(evaluation.rows, 'row')}, SHA-256 {evaluation.digest[:16]}.",
        tables.intervals(evaluation.resamples, evaluation.seed),
        *tables.versions(evaluation.versions),
    ]
    return Group(Text(f"{evaluation.model} ({evaluation.ran})"), shown, *map(Text, lines))


def _main(comparison: ModelComparison) -> Table:
    """The main metric and everything beside it; a cell has several lines where one would be too wide."""
    models = comparison.models
    main = models[0].metrics[0]
    shown = [
        ("model", _names(models, more=True)),
        (_wrapped(main), [_lines(*words.with_interval(one.metrics[0]).split(" ", 1)) for one in models]),
        ("difference", [_lines(*words.difference(one, main.name), words.changed(one)) for one in models]),
        (f"{words.unit(comparison.models)}/s", [_lines(*words.rate(one)) for one in models]),
        ("p50 of one", [words.latency(one) for one in models]),
        ("on disk", [words.bytes_of(one.measured.disk) for one in models]),
        ("weights", [words.bytes_of(one.measured.memory) for one in models]),
        ("", [words.FRONT if one.front else "" for one in models]),
    ]
    return _table(shown)


def _further(comparison: ModelComparison, start: int) -> Table:
    """Metrics beside the main one."""
    models = comparison.models
    shown = [("model", _names(models))]
    for place, figure in enumerate(models[0].metrics[start : start + _ACROSS], start):
        differences = [" ".join(words.difference(one, figure.name)[::2]) for one in models]  # without the interval
        values = [words.with_interval(one.metrics[place]) for one in models]
        shown.append((_wrapped(figure), [_lines(*pair) for pair in zip(values, differences, strict=True)]))
    return _table(shown)


def _names(models: Sequence[ComparedModel], *, more: bool = False) -> list[str]:
    """The models, numbered; with ``more``, what ran them and what they were made from."""
    named = [f"{place} {one.name}" for place, one in enumerate(models, 1)]
    if not more:
        return named
    rest = [("" if one.ran in one.name else one.ran, one.measured.lineage or "") for one in models]
    return [_lines(name, *lines) for name, lines in zip(named, rest, strict=True)]


def _lines(*parts: str) -> str:
    return "\n".join(filter(None, parts))


def _wrapped(figure: MetricValue) -> str:
    return words.metric_name(figure).replace(" (", "\n(")


def _table(shown: Sequence[tuple[str, Sequence[str]]]) -> Table:
    """Columns that have something in them: the first to the left, which gives way, the others to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    filled = [(head, lines) for head, lines in shown if any(lines)]
    several = any("\n" in line for _, lines in filled for line in lines)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), leading=int(several))
    for place, (head, _) in enumerate(filled):
        table.add_column(Text(head), justify="right" if place else "left", overflow="fold", no_wrap=place > 0)
    for row in zip(*(lines for _, lines in filled), strict=True):
        table.add_row(*map(Text, row))
    return table


def _disagreement(one: Disagreement) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    yield Text(f"row {one.row}" + (f": {one.text}" if one.text else ""))
    answers = " · ".join(f"model {place}: {answer}" for place, answer in enumerate(one.answers, 1))
    yield Padding(Text(f"right: {one.right} · {answers}"), (0, 0, 0, 4))
