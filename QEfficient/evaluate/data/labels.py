"""Labels: whole numbers from 0 on, or names; all of one kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from QEfficient.evaluate.data.cells import UNFIT, Cells, items, read_each, refused, scalar

_ALLOWED = "whole numbers from 0 on, or names; all of one kind"
_DO = 'cast whole floats with .astype(int); for numbers in between, task="regression"; drop rows that have no label'
_WHOLE = re.compile(r"[+-]?\d+")


def read_labels(cells: Cells) -> list[int | str]:
    """One label a row."""

    def read(value: Any) -> Any:
        return _label(scalar(cells, value))

    found = read_each(_numbered(cells), read, "is no label", _ALLOWED, _DO)
    _check(cells, [[label] for label in found])
    return found


def read_multi(cells: Cells) -> list[list[int | str]]:
    """Several labels a row, each once, in ascending order.

    Rows of zeros and ones that are all equally long are read as one number a label, 1 where it holds. Read as lists of
    labels they could only be rows that have both labels 0 and 1 each, which tells nothing apart.
    """

    def read(value: Any) -> Any:
        found = items(cells, value)
        labels = None if found is None else [_label(int(one) if _is_mark(one) else one) for one in found]
        return UNFIT if labels is None or UNFIT in labels else labels

    allowed = "a list of whole numbers from 0 on, of names, or of zeros and ones, one a label"
    rows = read_each(cells, read, "are no list of labels", allowed, "pass a list a row, [] for none of them")
    _check(cells, rows)
    if is_indicator(rows):
        return [[label for label, holds in enumerate(row) if holds] for row in rows]
    return [sorted(set(row)) for row in rows]


def read_tags(cells: Cells) -> list[list[int | str]]:
    """A label a word."""

    def read(value: Any) -> Any:
        found = items(cells, value)
        labels = None if found is None else [_label(one) for one in found]
        return UNFIT if labels is None or UNFIT in labels else labels

    allowed = "a list of whole numbers from 0 on, or of names, one a word"
    rows = read_each(
        cells, read, "are no list of tags", allowed, "pass one tag a word; -100 is for pieces of words only"
    )
    _check(cells, rows)
    return rows


def indicator_width(cells: Cells) -> int:
    """How many labels a row of zeros and ones has; 0 where rows are lists of labels."""
    rows = [items(cells, value) or [] for value in cells.values]
    return len(rows[0]) if is_indicator(rows) else 0


def is_indicator(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether rows are zeros and ones, a place a label."""
    width = len(rows[0]) if rows else 0
    return width > 1 and all(len(row) == width and set(row) <= {0, 1} for row in rows)


def _label(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return value if value.strip() else UNFIT
    return value if type(value) is int and value >= 0 else UNFIT


def _is_mark(value: Any) -> bool:
    """Zero or one as a float, as matrices of labels have them."""
    return isinstance(value, float) and value in (0.0, 1.0)


def _numbered(cells: Cells) -> Cells:
    """Of a text file, labels that are all whole numbers are numbers."""
    if not cells.written or not all(_WHOLE.fullmatch(value.strip()) for value in cells.values if value):
        return cells
    values = [int(value) if value else None for value in cells.values]
    return Cells(cells.role, cells.column, values, written=False)


def _check(cells: Cells, rows: Iterable[Iterable[int | str]]) -> None:
    """Refuses numbers among names."""
    kinds = [{type(label) for label in row} for row in rows]
    names = [row for row, kind in enumerate(kinds) if str in kind]
    numbers = [row for row, kind in enumerate(kinds) if int in kind]
    if names and numbers:
        fewer, what = min((names, "a name"), (numbers, "a number"), key=lambda one: len(one[0]))
        others = "names" if fewer is numbers else "numbers"
        raise refused(cells, fewer, f"is {what} among {others}", _ALLOWED, "write all of them the same way")
