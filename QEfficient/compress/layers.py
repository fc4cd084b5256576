"""What of a graph may become int8: its matrix products with constant weights, grouped by what they read."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from QEfficient.onnx_transforms.weights import NAME_SCOPES


@dataclass(frozen=True, slots=True)
class Layer:
    """The matrix products that read one tensor; they are quantised together or not at all.

    Attributes:
        name: The module that the first one came from, or the name of its output where the graph does not say.
        tensor: What they read.
        nodes: The first output of each.
        weights: Their weights, in the same order; ``(inputs, outputs)`` each.
        cost: Multiplications for one row of ``tensor``.
    """

    name: str
    tensor: str
    nodes: tuple[str, ...]
    weights: tuple[str, ...]
    cost: int


def find_layers(graph: onnx.GraphProto) -> tuple[Layer, ...]:
    """The layers of the main graph, in graph order."""
    weights = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2}
    read: dict[str, list[onnx.NodeProto]] = {}
    for node in products(graph, weights):
        read.setdefault(node.input[0], []).append(node)
    return tuple(
        Layer(
            name=module(nodes[0]) or nodes[0].output[0],
            tensor=tensor,
            nodes=tuple(node.output[0] for node in nodes),
            weights=tuple(node.input[1] for node in nodes),
            cost=sum(weights[node.input[1]].dims[0] * weights[node.input[1]].dims[1] for node in nodes),
        )
        for tensor, nodes in read.items()
    )


def products(graph: onnx.GraphProto, weights: Mapping[str, object]) -> Iterator[onnx.NodeProto]:
    """The matrix products whose second operand is one of ``weights``."""
    for node in graph.node:
        if node.op_type == "MatMul" and not node.domain and node.input[0] not in weights and node.input[1] in weights:
            yield node


def module(node: onnx.NodeProto) -> str:
    """The torch module that a node was exported from; ``""`` where the graph does not say."""
    scopes = next((prop.value for prop in node.metadata_props if prop.key == NAME_SCOPES), "")
    return str(ast.literal_eval(scopes)[-2:][0]) if scopes else ""
