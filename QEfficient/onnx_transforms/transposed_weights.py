"""A product with a weight that is stored the other way around, in one operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values


class TransposedWeights(ir.passes.InPlacePass):
    """Makes a ``Gemm`` that reads a weight as it is stored, of a ``MatMul`` with its ``Transpose``.

    The head of most decoders is their table of tokens, which is stored by token. A runtime that transposes it first
    holds it twice, and takes the time for that whenever it loads the graph; onnxruntime's product of one row with
    49,152 × 576 numbers is twice as fast as they are stored. ``Gemm`` takes matrices, so the states are made one.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        graph, names = model.graph, new_values.Names(model)
        found = [(node, weight) for node in graph if (weight := _transposed(node)) is not None]
        for node, weight in found:
            _replace(graph, node, weight, names)
        return ir.passes.PassResult(model, modified=bool(found))


def _transposed(node: ir.Node) -> ir.Value | None:
    """The weight whose transpose a product reads."""
    if not match.is_a(node, "MatMul") or node.inputs[0] is None or len(node.inputs[0].shape or ()) < 2:
        return None
    turned = match.made_by(node.inputs[1], "Transpose", shared=True)
    weight = turned.inputs[0] if turned is not None else None
    if turned is None or weight is None or not match.is_matrix(weight):
        return None
    return weight if (match.perm(turned) or [1, 0]) == [1, 0] else None


def _replace(graph: ir.Graph, product: ir.Node, weight: ir.Value, names: new_values.Names) -> None:
    states, turned, result = product.inputs[0], product.inputs[1], product.outputs[0]
    assert states is not None and turned is not None and weight.const_value is not None
    wide_out, wide_in = weight.const_value.shape.numpy()
    name = str(result.name)

    def sizes(numbers: list[int], what: str) -> ir.Value:
        return new_values.initializer(graph, np.array(numbers, np.int64), names.new(f"{name}_{what}"))

    def put(kind: str, inputs: list[ir.Value], what: str, **attributes: int) -> ir.Value:
        return new_values.insert(product, kind, inputs, names.new(f"{name}_{what}"), None, **attributes)

    rows = put("Reshape", [states, sizes([-1, wide_in], "matrix")], "rows")
    products = put("Gemm", [rows, weight], "products", transB=1)
    before = put("Shape", [states], "before", start=0, end=-1)
    shape = put("Concat", [before, sizes([wide_out], "width")], "shape", axis=0)
    wanted = names.new(f"{name}_shaped")
    found = new_values.insert(product, "Reshape", [products, shape], wanted, like=result, allowzero=1)
    result.replace_all_uses_with(found, replace_graph_outputs=True)
    graph.remove(product, safe=True)
    result.name, found.name = None, name
    if (left := turned.producer()) is not None and not turned.uses() and not turned.is_graph_output():
        graph.remove(left, safe=True)
