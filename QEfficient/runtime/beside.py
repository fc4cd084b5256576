"""Inputs beside ids, mask and types: boxes, paths and the like. What a caller may give, and what stands for the rest.

Which there are, a program's :class:`~QEfficient.records.RowRules` say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError
from QEfficient.records import RowRules, Rows, TensorSpec, TokenInput
from QEfficient.runtime.refusals import rows_where

Ids = NDArray[np.int64]


def check_shapes(arrays: Mapping[str, Ids], rules: RowRules, shape: tuple[int, ...]) -> None:
    """Refuses an input whose dims behind rows and tokens are others than the graph's.

    Args:
        arrays: What the caller gave.
        rules: The program's.
        shape: Rows and columns.

    Raises:
        InputError: Names the input and both shapes.
    """
    for one in rules.more:
        given = arrays.get(one.name)
        if given is not None and given.shape != (*shape, *one.sizes) and (len(given) or shape[0]):
            sizes = ", ".join(("rows", "columns", *map(str, one.sizes)))
            raise InputError(
                f"{one.name} does not have the shape that this model takes.",
                got=f"shape {given.shape}",
                allowed=f"({sizes}): {(*shape, *one.sizes)} beside these input_ids",
                do="take all inputs from the same call of the model's own processor",
            )


def check_values(columns: Mapping[str, Ids], rules: RowRules) -> None:
    """Refuses numbers that the model's tables do not hold: a graph may look up another entry for them, in silence.

    Of inputs that are looked up as they are, the graph tells the table: :mod:`QEfficient.runtime.tables`.

    Raises:
        InputError: Names the rows.
    """
    for one in rules.more:
        array = columns[one.name]
        if one.below and (bad := (array < 0) | (array >= np.array(one.below))).any():
            raise InputError(
                f"{one.name} holds numbers that the model's tables do not have.",
                got=f"{rows_where(bad)}, values from {np.min(array)} to {np.max(array)}",
                allowed=f"0 to {_most(one)}",
                do="scale boxes to the page: 0 to 1000" if one.boxes else "make it with the model's own processor",
            )
        if one.ordered and (bad := array[..., 2:] < array[..., :2]).any():
            raise InputError(
                f"{one.name} holds boxes that end before they begin.",
                got=rows_where(bad),
                allowed="left, top, right, bottom with left ≤ right and top ≤ bottom",
                do="put the corners in this order: the model looks up each box's width and height",
            )


def _most(one: TokenInput) -> str:
    """The greatest number, or one a place of the last dim."""
    most = [str(size - 1) for size in one.below]
    return most[0] if len(most) == 1 else f"({', '.join(most)})"


def filled(one: TokenInput, shape: Sequence[int]) -> Ids:
    """What stands for an input that is left out, for rows and tokens of that shape."""
    return np.full((*shape, *one.sizes), one.default, np.int64)


def stand_in(spec: TensorSpec, shape: Sequence[int]) -> NDArray[np.generic]:
    """Numbers that every model takes, for a run whose results nobody reads."""
    return np.full(shape, spec.harmless, spec.dtype)


def of_tokens(rows: Rows, inputs: Sequence[TensorSpec], rules: RowRules) -> Rows:
    """A tokenizer's rows as a graph takes them: without what it has no input for, and with what stands for the rest.

    Args:
        rows: Ids, masks and types, which a tokenizer gives. It knows no boxes, and no types of TAPAS' kind.
        inputs: The graph's.
        rules: The program's.
    """
    columns = dict(rows.columns) | {"pooling_mask": rows.columns["attention_mask"]}
    if rules.more:
        longest = max(rows.lengths, default=0)
        for one in rules.more:
            whole = filled(one, (longest,))
            columns[one.name] = [whole[:length] for length in rows.lengths]
    names = [spec.name for spec in inputs]
    return Rows({name: columns[name] for name in names if name in columns}, rows.width, rows.lengths)
