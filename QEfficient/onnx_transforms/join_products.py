"""One product in place of several of the same states, for runtimes whose threads meet at each."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values, weights


class JoinProducts(ir.passes.InPlacePass):
    """Makes one ``MatMul`` of those that read the same states, and cuts its result: queries, keys and values, say.

    A token of one row is bound by reading weights, which all threads do together, and wait for each other at every
    product: SmolLM2 then has 120 of them for 210. The weights are put side by side in the graph, which a runtime does
    once, when it loads it. Weights that anything else reads are left alone: they would be there twice.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        groups: dict[ir.Value, list[ir.Node]] = {}
        for node in model.graph:
            if node.inputs and node.inputs[0] is not None and _is_projection(node):
                groups.setdefault(node.inputs[0], []).append(node)
        joined = [products for products in groups.values() if len(products) > 1]
        names = new_values.Names(model)
        for products in joined:
            _join(model.graph, products, names)
        return ir.passes.PassResult(model, modified=bool(joined))


def _is_projection(node: ir.Node) -> bool:
    """Whether a node is a product with a matrix of its own."""
    weight = node.inputs[1] if match.is_a(node, "MatMul") else None
    return weight is not None and weight.is_initializer() and match.is_matrix(weight) and len(weight.uses()) == 1


def _join(graph: ir.Graph, products: list[ir.Node], names: new_values.Names) -> None:
    first, matrices = products[0], [product.inputs[1] for product in products]
    sizes = [tensor.shape.numpy()[1] for tensor in map(weights.constant, matrices) if tensor is not None]
    name = str(first.outputs[0].name)
    together = new_values.insert(
        first, "Concat", [one for one in matrices if one], names.new(f"{name}_weights"), axis=1
    )
    states = first.inputs[0]
    assert states is not None
    result = new_values.insert(first, "MatMul", [states, together], names.new(f"{name}_products"))
    widths = new_values.initializer(graph, np.array(sizes, np.int64), names.new(f"{name}_widths"))
    parts = [ir.Value(type=product.outputs[0].type, shape=product.outputs[0].shape) for product in products]
    cut = ir.node("Split", [result, widths], {"axis": -1}, outputs=parts, name=f"node_{name}_parts")
    first.prepend(cut)
    for product, part in zip(products, parts, strict=True):
        old = product.outputs[0]
        part.name, old.name = old.name, None
        old.replace_all_uses_with(part, replace_graph_outputs=True)
        graph.remove(product, safe=True)
