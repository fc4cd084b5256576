"""Removes nodes whose output is their input."""

from __future__ import annotations

import onnx_ir as ir

from QEfficient.onnx_transforms import weights


class RemoveIdentities(ir.passes.InPlacePass):
    """Removes ``Identity``, ``Dropout`` in inference, ``Cast`` to the same type and ``Transpose`` in the same order.

    Names, types and shapes of graph outputs stay. A node stays where its output must be a value of its own: a graph
    output whose source is an input, an initializer, another output, or a value from outside the subgraph. onnx_ir's
    own pass removes the last two, which drops an output's name or leaves a branch without its result.

    ``Reshape`` and ``Expand`` to the same shape are removed by constant folding, which knows the shapes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        return weights.each(model, lambda node: _is_identity(node) and _remove(node))


def _is_identity(node: ir.Node) -> bool:
    if node.domain != "" or not node.inputs or node.inputs[0] is None:
        return False
    match node.op_type:
        case "Identity":
            return True
        case "Dropout":
            return _is_inference(node)
        case "Cast":
            target = node.attributes.get("to")
            return target is not None and not target.is_ref() and target.as_int() == node.inputs[0].dtype
        case "Transpose":
            order = node.attributes.get("perm")
            return order is not None and not order.is_ref() and list(order.as_ints()) == list(range(len(order.value)))
    return False


def _is_inference(node: ir.Node) -> bool:
    """Whether a Dropout passes its input on: its mask is not used, and it is not told to train."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return False
    training = node.inputs[2] if len(node.inputs) > 2 else None
    told = weights.constant(training)
    return training is None or (told is not None and not told.numpy().any())


def _remove(node: ir.Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and node.graph is not None  # _is_identity saw to it
    if result.is_graph_output():
        producer = source.producer()
        if producer is None or producer.graph is not node.graph or source.is_graph_output():
            return False
        source.name = result.name
        source.type, source.shape = result.type or source.type, result.shape or source.shape
    source.type, source.shape = source.type or result.type, source.shape or result.shape
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    return True
