"""A graph without functions, for runtimes that know none or run each call of one by itself."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from QEfficient.onnx_transforms import new_values
from QEfficient.onnx_transforms.remove_identities import RemoveIdentities


class InlineFunctions(ir.passes.InPlacePass):
    """Puts the nodes of functions in the place of their calls, and makes equal nodes one.

    Each layer's function asks its own cache for the number of slots and positions, which are the same in all. Asked
    once, what follows from them is the same expression in every layer. A runtime would find that too, each time it
    loads the graph: with one node for each, SmolLM2's has 2,400 for 5,300.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        if not model.functions:
            return ir.passes.PassResult(model, modified=False)
        common.InlinePass()(model)
        _share_sizes(model)
        RemoveIdentities()(model)
        common.CommonSubexpressionEliminationPass()(model)
        return ir.passes.PassResult(model, modified=True)


def _share_sizes(model: ir.Model) -> None:
    graph = model.graph
    inputs = [value for value in graph.inputs if value.shape is not None]
    names = new_values.Names(model)
    first: dict[tuple[int | str, ...], ir.Value] = {}
    for node in [node for node in graph if node.op_type == "Shape" and not node.domain]:
        dims = _dims(node)
        if dims is None:
            continue
        if dims not in first:
            first[dims] = _sizes(graph, inputs, dims, names) or node.outputs[0]
        if node.outputs[0] is not first[dims]:
            node.outputs[0].replace_all_uses_with(first[dims])
            graph.remove(node, safe=True)


def _dims(node: ir.Node) -> tuple[int | str, ...] | None:
    """What a Shape node gives, where every dim is a number or has a name."""
    value = node.inputs[0]
    if value is None or value.shape is None or node.outputs[0].is_graph_output():
        return None
    found = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    start, end = (node.attributes[key].as_int() if key in node.attributes else None for key in ("start", "end"))
    dims = found[start:end]
    named = tuple(dim for dim in dims if dim is not None)
    return named if len(named) == len(dims) else None


def _sizes(
    graph: ir.Graph, inputs: list[ir.Value], dims: tuple[int | str, ...], names: new_values.Names
) -> ir.Value | None:
    """A value at the graph's start with these sizes: numbers, or what a dim of an input is."""
    if all(isinstance(dim, int) for dim in dims):
        return new_values.initializer(graph, np.array(dims, np.int64), names.new("sizes"))
    if len(dims) != 1:
        return None
    for value in inputs:
        for axis, dim in enumerate(value.shape or ()):
            if not isinstance(dim, int) and dim.value == dims[0]:
                wanted = names.new(f"{dims[0]}_size")
                return new_values.insert(graph[0], "Shape", [value], wanted, start=axis, end=axis + 1)
    return None
