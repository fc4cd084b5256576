"""Rotary positions that a decoder's graph turns heads by, from a table of cosines and one of sines."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values, weights
from QEfficient.onnx_transforms.formulas import formula

_LOOKED_UP = re.compile(r"Unsqueeze\(GatherND\(<.*>,Unsqueeze\(Clip\(position_ids,0,(\d+)\),\[-1\]\)\),\[1\]\)")
_END = str(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Rotated:
    """``states · cos + (−second half, first half) · sin``, of heads ``(batch, heads, length, width)``.

    Attributes:
        states: The heads before.
        cos, sin: The tables, ``(positions, width)``, whose second half of columns is equal to the first.
    """

    states: ir.Value
    cos: ir.Value
    sin: ir.Value

    @property
    def half(self) -> int:
        """Columns of a table that differ."""
        return _width(self.cos) // 2


def rotated(value: ir.Value | None) -> Rotated | None:
    """How heads were turned by their positions; ``None`` where they were not, or otherwise than this."""
    for first, second in match.both_ways(match.made_by(value, "Add")):
        plain, turned = match.made_by(first, "Mul"), match.made_by(second, "Mul")
        for states, cos in match.both_ways(plain):
            for crossed, sin in match.both_ways(turned):
                if states is None or not _is_crossed(crossed, states):
                    continue
                tables = _table(cos), _table(sin)
                if tables[0] is not None and tables[1] is not None and _width(tables[0]) == _width(tables[1]):
                    fits = states.shape is not None and states.shape[-1] == _width(tables[0])
                    return Rotated(states, tables[0], tables[1]) if fits else None
    return None


def half_table(graph: ir.Graph, table: ir.Value, names: new_values.Names) -> ir.Value:
    """The first half of a table's columns, which a runtime cuts off when it loads the graph."""
    bounds = [np.array([0]), np.array([_width(table) // 2]), np.array([1])]
    cuts = [new_values.initializer(graph, bound, names.new(f"{table.name}_cut")) for bound in bounds]
    return new_values.insert(graph[0], "Slice", [table, *cuts], names.new(f"{table.name}_half"))


def _is_crossed(value: ir.Value | None, states: ir.Value) -> bool:
    """Whether a value is ``(−second half, first half)`` of ``states``."""
    joined = match.made_by(value, "Concat")
    if joined is None or len(joined.inputs) != 2 or states.shape is None or not isinstance(states.shape[-1], int):
        return False
    negated, half = match.made_by(joined.inputs[0], "Neg"), states.shape[-1] // 2
    if negated is None or joined.attributes.get_int("axis", 0) not in (-1, 3) or len(states.shape) != 4:
        return False
    bounds = ((str(half), _END), ("0", str(half)))
    return all(
        _is_slice(part, states, *ends) for part, ends in zip((negated.inputs[0], joined.inputs[1]), bounds, strict=True)
    )


def _is_slice(value: ir.Value | None, states: ir.Value, start: str, end: str) -> bool:
    """Whether a value is a part of the last dim of ``states``."""
    cut = match.made_by(value, "Slice")
    if cut is None or cut.inputs[0] is not states or len(cut.inputs) != 5:
        return False
    found = [formula(bound) for bound in cut.inputs[1:]]
    return found[:2] == [f"[{start}]", f"[{end}]"] and found[2] in ("[3]", "[-1]") and found[3] == "[1]"


def _table(value: ir.Value | None) -> ir.Value | None:
    """The table whose rows of the tokens' positions a value has; every position that is looked up is in it."""
    found = _LOOKED_UP.fullmatch(formula(value))
    spread = value.producer() if value is not None else None
    looked_up = spread.inputs[0].producer() if spread is not None and spread.inputs[0] is not None else None
    table = looked_up.inputs[0] if looked_up is not None else None
    if found is None or table is None or not match.is_matrix(table):
        return None
    tensor = weights.constant(table)
    assert tensor is not None
    rows, columns = tensor.shape.numpy()
    if rows != int(found.group(1)) + 1 or columns % 2:
        return None
    numbers = tensor.numpy()
    return table if np.array_equal(numbers[:, : columns // 2], numbers[:, columns // 2 :]) else None


def _width(table: ir.Value) -> int:
    tensor = weights.constant(table)
    assert tensor is not None
    return int(tensor.shape.numpy()[1])
