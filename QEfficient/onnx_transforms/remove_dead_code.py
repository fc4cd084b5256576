"""Removes what no output needs."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from QEfficient.onnx_transforms import weights


class RemoveDeadCode(ir.passes.InPlacePass):
    """Removes nodes, initializers, functions and opset imports that no output of the graph needs.

    The graph's own inputs and outputs stay. The work is done by onnx_ir's passes; added are initializers of subgraphs,
    which these leave, and a true ``modified``, since they do not count dropped optional inputs and outputs.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        before = _size(model)
        common.RemoveUnusedNodesPass()(model)
        common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass()(model)
        for graph in weights.graphs(model):
            for name, value in list(graph.initializers.items()):
                if not (value.uses() or value.is_graph_input() or value.is_graph_output()):
                    del graph.initializers[name]
        return ir.passes.PassResult(model, modified=_size(model) != before)


def _size(model: ir.Model) -> int:
    """Counts everything that this pass can remove. It only ever removes, so an equal count is an equal model."""
    nodes = sum(
        1 + len(node.inputs) + len(node.attributes) + sum(bool(output.name) for output in node.outputs)
        for node in weights.nodes(model)
    )
    initializers = sum(len(graph.initializers) for graph in weights.graphs(model))
    imports = sum(len(root.opset_imports) for root in weights.roots(model))
    return nodes + initializers + imports + len(model.functions)
