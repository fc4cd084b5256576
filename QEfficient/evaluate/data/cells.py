"""One column's values on their way to a role: as Python's own values, and refused by row."""

from __future__ import annotations

import ast
import json
import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError

_PYTHONS_OWN = frozenset((str, int, float, bool, type(None)))
_MISSING = ("NAType", "NaTType")  # pandas' two; pandas itself need not be there
_SHOWN = 5


class Unfit(Enum):
    """What a reader returns for a value that it refuses."""

    UNFIT = "unfit"


UNFIT = Unfit.UNFIT


@dataclass(frozen=True, slots=True)
class Cells:
    """A role's values, as its column has them.

    Attributes:
        role: Its name.
        column: Where they came from.
        values: One a row.
        written: Whether every value is text, as in a CSV file.
    """

    role: str
    column: str
    values: Sequence[Any]
    written: bool = False


def plain(value: Any) -> Any:
    """A scalar of numpy, pandas, pyarrow or torch as Python's own; a missing one as ``None``. All others stay.

    >>> plain(np.float32(0.5)), plain(np.str_("a")), plain(np.bool_(True)), plain([1])
    (0.5, 'a', True, [1])
    """
    if type(value) in _PYTHONS_OWN:
        return value
    if hasattr(value, "as_py"):
        return value.as_py()
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, np.generic) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0):
        return value.item()
    return value


def scalar(cells: Cells, value: Any) -> Any:
    """A cell as Python's own value; an empty one of a text file is missing."""
    value = plain(value)
    return None if cells.written and value == "" else value


def items(cells: Cells, value: Any) -> list[Any] | None:
    """A list's items as Python's own values, of whatever library the list is; ``None`` for what is none.

    In a text file a list is JSON (``["a", "b"]``), or what pandas writes (``['a', 'b']``).
    """
    value = structure(cells, value)
    for method in ("to_list", "tolist"):
        if not isinstance(value, (list, tuple)) and hasattr(value, method):
            value = getattr(value, method)()
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else None


def structure(cells: Cells, value: Any) -> Any:
    """A cell that may hold a list or a mapping, which a text file has in brackets."""
    value = plain(value)
    if not cells.written or not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value


def encoded(value: Any) -> Any:
    """Of what datasets gives undecoded, the bytes, or else the path; a path as a string."""
    if isinstance(value, Mapping) and "array" not in value:
        found = value.get("bytes")
        value = value.get("path") if found is None else found
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def number_array(value: Any) -> NDArray[Any] | None:
    """Numbers as an array; ``None`` for what is none."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except ValueError:  # lists of unequal length
        return None
    return array if array.dtype.kind in "uif" else None


def read_each(cells: Cells, read: Callable[[Any], Any], what: str, allowed: str, do: str) -> list[Any]:
    """Every value as a reader gives it.

    Args:
        cells: The values.
        read: Value → what it counts as, or :data:`UNFIT`.
        what: What is wrong with a value that is unfit, as the end of a sentence: ``"is no string"``.
        allowed: What would have been accepted.
        do: What to do next.

    Raises:
        InputError: Values are unfit; it names their rows.
    """
    found = [read(value) for value in cells.values]
    if bad := [row for row, value in enumerate(found) if value is UNFIT]:
        raise refused(cells, bad, what, allowed, do)
    return found


def refused(cells: Cells, rows: Sequence[int], what: str, allowed: str, do: str) -> InputError:
    """The error of a column of which some rows can't be used; rows are counted from 0."""
    where = f"row {rows[0]}" if len(rows) == 1 else f"{len(rows)} of {len(cells.values)} rows"
    value = " ".join(reprlib.repr(plain(cells.values[rows[0]])).split())
    return InputError(
        f"The {cells.role} {what} in {where}.",
        got=f"column {cells.column!r}, {row_numbers(rows)}; row {rows[0]} has {value}",
        allowed=allowed,
        do=do,
    )


def row_numbers(rows: Sequence[int]) -> str:
    """The first few of some rows, for an error.

    >>> row_numbers([3]), row_numbers(range(8))
    ('row 3 (from 0)', 'rows 0, 1, 2, 3, 4, … (from 0)')
    """
    shown = ", ".join(map(str, rows[:_SHOWN])) + ", …" * (len(rows) > _SHOWN)
    return f"{'row' if len(rows) == 1 else 'rows'} {shown} (from 0)"
