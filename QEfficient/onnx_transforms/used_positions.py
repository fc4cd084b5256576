"""A decoder that reads its caches as far as they are used, so that the cost of a token follows its position."""

from __future__ import annotations

import onnx_ir as ir

from QEfficient.onnx_transforms import new_values
from QEfficient.onnx_transforms.key_positions import COUNT
from QEfficient.records import POSITION_IDS


class UsedPositions(ir.passes.InPlacePass):
    """Counts the positions at which caches are read up to the largest of the call, in place of the caches' length.

    The caches keep their size. What is left out was hidden from every token, so that its weight was exactly 0.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        graph = model.graph
        count = next((node for node in graph if node.op_type == "Range" and node.outputs[0].name == COUNT), None)
        positions = next((value for value in graph.inputs if value.name == POSITION_IDS), None)
        if count is None or positions is None or count.inputs[1] is None or count.inputs[2] is None:
            return ir.passes.PassResult(model, modified=False)
        length, one = count.inputs[1], count.inputs[2]
        names = new_values.Names(model)
        # OpenVINO counts in int32, by way of float32: the largest positions, which no cache has, would be below 0
        inside = new_values.insert(count, "Less", [positions, length], names.new("position_inside"))
        bounded = new_values.insert(count, "Where", [inside, positions, length], names.new("position_bounded"))
        largest = new_values.insert(count, "ReduceMax", [bounded], names.new("largest_position"), keepdims=0)
        used = new_values.insert(count, "Add", [largest, one], names.new("positions_used"))
        least = new_values.insert(count, "Max", [used, one], names.new("positions_read"))  # a call of padding only
        count.replace_input_with(1, new_values.insert(count, "Min", [least, length], names.new("positions_there")))
        return ir.passes.PassResult(model, modified=True)
