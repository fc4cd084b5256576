"""A page as text, for a terminal, a log or an issue: what the report shows, without a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import MARKDOWN
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from QEfficient.report.drawing import Figure
from QEfficient.report.page import Page

_ROWS = 12  # of a table that the report has in full


def show(page: Page) -> None:
    """Prints the page to the terminal or notebook, in colour where there is any."""
    console = Console()
    if console.encoding.startswith("utf"):
        console.print(Group(*_parts(page)))
    else:  # a terminal that has no ÷ and no ≥
        print(text(page).encode(console.encoding, "replace").decode(console.encoding))


def text(page: Page, width: int = 110) -> str:
    """The page as plain text, ``width`` characters wide; tables are Markdown."""
    console = Console(width=width, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(Group(*_parts(page)))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _parts(page: Page) -> Iterator[RenderableType]:
    yield f"[bold]{escape(page.name)}[/bold]\n"
    for tile in page.tiles:
        yield f"{tile.name:<22}{escape(tile.value)}" + (f" ({escape(tile.note)})" if tile.note else "")
    for figure, columns in page.brief:
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
