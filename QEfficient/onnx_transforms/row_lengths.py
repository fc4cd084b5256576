"""How long the rows of a run are, counted from its positions, for operators that are told lengths instead of those."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import new_values
from QEfficient.records import POSITION_IDS


class RowLengths:
    """Values at a graph's start, each made once; int32.

    Args:
        graph: It has an input ``position_ids``, ``(batch, length)``, −1 behind a row's last token.
        names: Free ones.
    """

    def __init__(self, graph: ir.Graph, names: new_values.Names) -> None:
        self._graph, self._names = graph, names
        self._first = graph[0]
        self._positions = next(value for value in graph.inputs if value.name == POSITION_IDS)

    @cached_property
    def tokens(self) -> ir.Value:
        """Of each row, how many tokens it has, ``(batch,)``."""
        real = self._put("GreaterOrEqual", [self._positions, self._zero], "is_token")
        ones = self._put("Cast", [real], "token_count", to=ir.DataType.INT32)
        return self._put("ReduceSum", [ones, self._last_axis], "row_tokens", keepdims=0)

    @cached_property
    def last(self) -> ir.Value:
        """Of each row, its largest position, ``(batch,)``; 0 where it has no token."""
        largest = self._put("ReduceMax", [self._positions, self._last_axis], "largest_position", keepdims=0)
        there = self._put("Max", [largest, self._zero], "row_end")
        return self._put("Cast", [there], "row_last", to=ir.DataType.INT32)

    @cached_property
    def longest(self) -> ir.Value:
        """Most positions up to a row's last one, and no less than the tokens of the longest row: a scalar."""
        largest = self._put("ReduceMax", [self.last], "last_of_all", keepdims=0)
        used = self._put("Add", [largest, self._number(1, "int32")], "positions_used")
        shape = self._put("Shape", [self._positions], "row_width", start=1, end=2)
        narrow = self._put("Cast", [shape], "row_width_int32", to=ir.DataType.INT32)
        width = self._put("Squeeze", [narrow], "row_width_scalar")
        return self._put("Max", [used, width], "longest_row")

    @cached_property
    def _zero(self) -> ir.Value:
        return self._number(0, "int64")

    @cached_property
    def _last_axis(self) -> ir.Value:
        return new_values.initializer(self._graph, np.array([-1]), self._names.new("last_axis"))

    def _number(self, number: int, dtype: str) -> ir.Value:
        return new_values.initializer(self._graph, np.array(number, dtype), self._names.new(f"number_{number}"))

    def _put(self, kind: str, inputs: list[ir.Value], name: str, **attributes: int) -> ir.Value:
        return new_values.insert(self._first, kind, inputs, self._names.new(name), None, **attributes)
