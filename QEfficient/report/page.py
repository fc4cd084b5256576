"""What a report is made of, before it is HTML or text: a heading, tiles, figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from QEfficient.report.drawing import Figure


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the summary. ``kind``: a class of the style sheet, ``""`` for a plain one."""

    name: str
    value: str
    note: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One report.

    Attributes:
        name: What it is about, the model's name.
        kind: What it says of that, ``"analysis"``.
        about: A line under the heading, before the date.
        created: UTC time, ISO 8601.
        versions: Package → version that it was made with, ours first.
        digest: A line that tells what exactly was looked at.
        tiles: The summary.
        figures: Drawings, each with its numbers as a table.
        tables: What stands behind the figures.
        brief: For a terminal: figures, and the columns of their tables that there is room for.
    """

    name: str
    kind: str
    about: str = ""
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    tiles: tuple[Tile, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Figure, ...] = ()
    brief: tuple[tuple[Figure, tuple[int, ...]], ...] = ()
