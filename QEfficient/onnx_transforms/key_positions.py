"""The positions at which a decoder's caches are read: all that they have."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import new_values

INPUT = "key_positions"
"""Input of a traced decoder, whose place the pass takes."""

COUNT = "cache_positions"
"""Name of the value that the pass puts there."""

POSITIONS_AXIS = 2
"""Of a cache: ``(slots, heads, positions, width)``."""


class KeyPositions(ir.passes.InPlacePass):
    """Counts 0, 1, … up to the length of a cache that holds all positions, in place of the input that a trace has.

    Args:
        cache: Name of an input that is such a cache; ``None``: no layer has one.
        given: The trace's input.
        count: Name of the value that stands for it.
    """

    def __init__(self, cache: str | None, given: str = INPUT, count: str = COUNT) -> None:
        super().__init__()
        self._cache, self._given, self._count = cache, given, count

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        graph = model.graph
        inputs = {value.name: value for value in graph.inputs}
        given = inputs[self._given]
        if self._cache is not None:
            names, first = new_values.Names(model), graph[0]
            bounds = [new_values.initializer(graph, np.array(n), names.new(f"key_positions_{n}")) for n in (0, 1)]
            cache, start, end = inputs[self._cache], POSITIONS_AXIS, POSITIONS_AXIS + 1
            size = new_values.insert(first, "Shape", [cache], names.new("ctx_len"), start=start, end=end)
            length = new_values.insert(first, "Squeeze", [size], names.new("ctx_len_scalar"))
            count = new_values.insert(first, "Range", [bounds[0], length, bounds[1]], self._count, like=given)
            given.replace_all_uses_with(count)
        graph.inputs.remove(given)
        return ir.passes.PassResult(model, modified=True)
