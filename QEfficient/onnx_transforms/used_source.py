"""A decoder that reads its cross caches as far as its sources reach."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import new_values

SOURCE_COUNT = "source_cache_positions"
"""Name of the value that counts the positions at which cross caches are read."""

_SHAPED = frozenset({"Unsqueeze", "Reshape", "Expand", "Identity"})


class UsedSource(ir.passes.InPlacePass):
    """Counts the positions at which cross caches are read up to the longest source of the call.

    The caches keep their size. What is left out was hidden from every token, so that its weight was exactly 0.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        graph = model.graph
        count = next((node for node in graph if node.op_type == "Range" and node.outputs[0].name == SOURCE_COUNT), None)
        lengths = None if count is None else _compared(count.outputs[0])
        if count is None or lengths is None:
            return ir.passes.PassResult(model, modified=False)
        names = new_values.Names(model)
        one = new_values.initializer(graph, np.array(1), names.new("least_source"))
        longest, read = (ir.Value(name=names.new(name)) for name in ("longest_source", "source_read"))
        new_values.behind(
            lengths,
            graph,
            [
                ir.node("ReduceMax", [lengths], {"keepdims": 0}, outputs=[longest], name="node_longest_source"),
                ir.node("Max", [longest, one], outputs=[read], name="node_source_read"),  # a call of padding only
            ],
        )
        count.replace_input_with(1, read)
        graph.sort()
        return ir.passes.PassResult(model, modified=True)


def _compared(positions: ir.Value) -> ir.Value | None:
    """What positions are compared with, in whatever shape: the length of each row's source."""
    for node, place in positions.uses():
        if node.op_type == "Less" and place == 0:
            return node.inputs[1]
        found = _compared(node.outputs[0]) if node.op_type in _SHAPED and place == 0 else None
        if found is not None:
            return found
    return None
