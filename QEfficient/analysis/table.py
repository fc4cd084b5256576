"""The analysis as text, for a terminal, a log or an issue: what the report shows, without a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import MARKDOWN
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from QEfficient.analysis.record import Analysis
from QEfficient.analysis.report import costs, lengths, page, ranges, speed, verification
from QEfficient.analysis.report.drawing import Figure

_ROWS = 12  # of a table that the report has in full
# The parts, in order, and the columns of each that a terminal has room for.
_PARTS = (
    (page.before_and_after, (0, 1, 2)),
    (costs.buckets, (0, 1, 3, 4, 6)),
    (costs.roofline, (0, 1, 2, 3, 4, 5)),
    (speed.speed, (0, 1, 2, 4, 5)),
    (costs.operators, (0, 1, 2, 3)),
    (costs.weights, (0, 1, 2)),
    (costs.fits, (0, 1, 2, 3, 4)),
    (page.lint, (0, 1, 2, 3)),
    (ranges.findings, (0, 1, 2, 4)),
    (verification.verification, (0, 1, 2)),
    (lengths.lengths, (0, 1, 2, 3, 4)),
)


def show(analysis: Analysis) -> None:
    """Prints the analysis to the terminal or notebook, in colour where there is any."""
    console = Console()
    if console.encoding.startswith("utf"):
        console.print(_whole(analysis))
    else:  # a terminal that has no ÷ and no ≥
        print(text(analysis).encode(console.encoding, "replace").decode(console.encoding))


def text(analysis: Analysis, width: int = 110) -> str:
    """The analysis as plain text, ``width`` characters wide; tables are Markdown."""
    console = Console(width=width, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(_whole(analysis))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _whole(analysis: Analysis) -> RenderableType:
    return Group(*_parts(analysis))


def _parts(analysis: Analysis) -> Iterator[RenderableType]:
    yield f"[bold]{escape(analysis.name)}[/bold]\n"
    for tile in page.tiles(analysis):
        yield f"{tile.name:<22}{escape(tile.value)}" + (f" ({escape(tile.note)})" if tile.note else "")
    for draw, columns in _PARTS:
        figure = draw(analysis)
        yield f"\n[bold]{escape(figure.title)}[/bold]"
        if figure.text:
            yield escape(figure.text)
        yield _table(figure, columns) if figure.table else escape(figure.missing or "Nothing to show.")


def _table(figure: Figure, columns: Sequence[int]) -> RenderableType:
    table = Table(box=MARKDOWN)
    for column in columns:
        table.add_column(escape(figure.columns[column]), overflow="fold")
    for row in figure.table[:_ROWS]:
        table.add_row(*(escape(row[column]) for column in columns))
    left = len(figure.table) - _ROWS
    return Group(table, f"and {left} more: see the report") if left > 0 else table
