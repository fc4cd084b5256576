"""A data set before anybody knows what its columns are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from QEfficient.errors import InputError


@dataclass(frozen=True, slots=True)
class DataTable:
    """Columns that are read when somebody asks for one, whatever they came in.

    Attributes:
        names: Of its columns; of rows that are tuples ``"0"``, ``"1"``, ….
        rows: How many there are.
        read: A column's name → its values.
        source: What it came from, for people.
        written: Whether every value is text, as in a CSV file.
        positional: Whether rows are tuples, whose places have no names.
        label_names: Column → the names that its whole numbers stand for, where the data set says them.
    """

    names: tuple[str, ...]
    rows: int
    read: Callable[[str], Sequence[Any]]
    source: str
    written: bool = False
    positional: bool = False
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def once(names: Sequence[str], source: str) -> tuple[str, ...]:
    """Names of columns, each of which stands there once.

    Raises:
        InputError: One stands there twice.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"Two columns of the {source} are called {twice[0]!r}.",
            got=", ".join(names),
            allowed="columns of different names",
            do="rename one of them",
        )
    return tuple(names)
