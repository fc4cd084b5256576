"""Tells Reshape its sizes as constants, where only the batch and the length are not known."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values, weights


class ConstantReshapes(ir.passes.InPlacePass):
    """Turns ``Reshape(x, Concat(Shape(ids), [12, 32]))`` into ``Reshape(x, [0, 0, 12, 32])``: 0 leaves a size as it is.

    The exporter computes the sizes that attention's heads need from the inputs' in every run. A runtime that can only
    tell them once they were computed stops there: OpenVINO, given texts of changing lengths one at a time, is 1.12 to
    1.16 times as fast without (MiniLM, two cores of an EPYC 9004). onnxruntime is as fast as before. No bit changes.

    A size counts as left alone where the shapes of what goes in and of what comes out have the same name at the same
    place. Without such a place one size may be left to ``Reshape``, as -1.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place. A function's shapes may be one call's; its nodes stay as they are."""
        found = {
            node: told
            for node in (ir.traversal.RecursiveGraphIterator(model.graph) if match.modern(model) else ())
            if match.is_a(node, "Reshape") and (told := _told(node)) is not None
        }
        names = new_values.Names(model)
        constants: dict[tuple[int, ...], ir.Value] = {}
        for node, told in found.items():
            if told not in constants:
                name = names.new("sizes_" + "_".join("any" if size < 0 else str(size) for size in told))
                constants[told] = new_values.initializer(model.graph, np.array(told, np.int64), name)
            node.replace_input_with(1, constants[told])
            node.attributes.pop("allowzero", None)
        return ir.passes.PassResult(model, modified=bool(found))


def _told(node: ir.Node) -> tuple[int, ...] | None:
    """What a Reshape whose sizes are computed can be told in their place."""
    source, result = node.inputs[0], node.outputs[0]
    if weights.constant(node.inputs[1]) is not None or source is None or source.shape is None or result.shape is None:
        return None
    told = [
        size if isinstance(size, int) else 0 if match.same([size], source.shape[place : place + 1]) else -1
        for place, size in enumerate(result.shape)
    ]
    open_sizes, kept = told.count(-1), any(not isinstance(size, int) for size in result.shape) and 0 in told
    empty = any(size == 0 for size in result.shape)  # 0 could not be told from "as it is"
    return None if empty or open_sizes > 1 or (open_sizes and kept) else tuple(told)
