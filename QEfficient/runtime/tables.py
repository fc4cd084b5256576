"""Ids that a model has no row for, found before a run: a runtime would fail on them, or read what is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from QEfficient.errors import InputError
from QEfficient.records import Rows
from QEfficient.runtime.refusals import SHOWN

AT_ONCE = 256  # rows whose greatest number is looked for together


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables that a program's inputs are looked up in.

    Attributes:
        sizes: Input name → rows of its table, as ``Manifest.tables``.
        token: What the program's tokenizer calls an id; ``None`` where it does not know it.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    token: Callable[[int], str | None] = lambda _: None

    def check(self, rows: Rows, names: Sequence[object] | None = None) -> None:
        """Refuses rows with a number past the end of its table.

        Args:
            rows: The rows.
            names: What to call each row; left out, its place.

        Raises:
            InputError: The message names the rows, the numbers and the table's size.
        """
        for name, size in self.sizes.items():
            if name in rows.columns and _greatest(rows, name) >= size:
                self._refuse(rows, name, size, range(len(rows)) if names is None else names)

    def without_padding(self, rows: Rows, fill: Mapping[str, int]) -> Rows:
        """The rows, with padding that its table has no row for replaced by what fills rows: the mask hides either.

        Args:
            rows: The rows.
            fill: Input name → value that fills a row; 0 where none is given.
        """
        mask = rows.columns.get("attention_mask")
        past = [name for name, size in self.sizes.items() if name in rows.columns and _greatest(rows, name) >= size]
        if mask is None or not past:
            return rows
        columns = {}
        for name in past:
            size, other = self.sizes[name], fill.get(name, 0)
            cells = zip(rows.columns[name], mask, strict=True)
            columns[name] = [
                np.where(np.greater_equal(each, size) & np.equal(kept, 0), other, each) for each, kept in cells
            ]
        return replace(rows, columns={**rows.columns, **columns})

    def _refuse(self, rows: Rows, name: str, size: int, names: Sequence[object]) -> None:
        ids = name == "input_ids"
        found = (
            (names[row], each[np.greater_equal(each, size)].tolist()) for row, each in enumerate(rows.columns[name])
        )
        past = list(dict.fromkeys((row, number) for row, numbers in found for number in numbers))  # each once a text
        known = [self.token(number) if ids else None for _, number in past[:SHOWN]]
        listed = [
            f"row {row}: {'id' if ids else name} {number}{'' if token is None else f' {token!r}'}"
            for (row, number), token in zip(past, known, strict=False)
        ]
        more = f", and {len(past) - SHOWN} more" if len(past) > SHOWN else ""
        raise InputError(
            f"{name} holds {'ids' if ids else 'numbers'} past the end of the model's table, which has no row for them.",
            got=f"{', '.join(listed)}{more} past the table of {size}",
            allowed=f"0 to {size - 1}",
            do=_advice(ids, any(token is not None for token in known)),
        )


def _advice(ids: bool, added: bool) -> str:
    if added:
        return (
            "keep these tokens out of the texts; or give the model a row for each and compile again: "
            "model.resize_token_embeddings(len(tokenizer)), whose new rows then need training"
        )
    return "take the ids from the tokenizer of this model" if ids else "pass smaller numbers, or leave this input out"


def _greatest(rows: Rows, name: str) -> int:
    column = rows.columns[name]
    parts = (column[start : start + AT_ONCE] for start in range(0, len(column), AT_ONCE))
    return max((int(np.concatenate(part).max(initial=0)) for part in parts), default=0)
