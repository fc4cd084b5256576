"""What passes put into a graph: names that are free, constants and initializers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from QEfficient.onnx_transforms import weights


class Names:
    """Names for new values, none of which the model has already."""

    def __init__(self, model: ir.Model) -> None:
        self._taken = {value.name for node in weights.nodes(model) for value in node.outputs}
        for graph in weights.graphs(model):
            self._taken |= {value.name for value in graph.inputs} | set(graph.initializers)

    def new(self, wanted: str) -> str:
        """``wanted``, or it with a number behind."""
        name, number = wanted, 1
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name


def constant(numbers: NDArray[np.generic], name: str) -> ir.Node:
    """A node that gives these numbers: functions hold no initializers."""
    tensor = ir.tensor(numbers)
    return ir.node("Constant", [], {"value": tensor}, outputs=[ir.val(name, const_value=tensor)], name=f"node_{name}")


def initializer(graph: ir.Graph, numbers: NDArray[np.generic] | ir.TensorProtocol, name: str) -> ir.Value:
    """An initializer of the graph that holds these numbers."""
    value = ir.val(name, const_value=ir.tensor(numbers, name=name))
    graph.register_initializer(value)
    return value


def changed(
    tensor: ir.TensorProtocol, change: Callable[[NDArray[Any]], NDArray[Any]], name: str | None
) -> ir.LazyTensor:
    """A tensor with other numbers, made when it is written: large ones one at a time."""

    def make() -> ir.TensorProtocol:
        return ir.Tensor(change(tensor.numpy()).astype(tensor.dtype.numpy(), copy=False), name=name)

    return ir.LazyTensor(make, dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name)


def behind(value: ir.Value, graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Puts nodes where they can read a value: behind the node that makes it, or at the graph's start."""
    producer = value.producer()
    if producer is not None:
        producer.append(nodes)
    else:
        graph[0].prepend(nodes)


def insert(
    place: ir.Node, kind: str, inputs: Sequence[ir.Value], name: str, like: ir.Value | None = None, **attributes: int
) -> ir.Value:
    """Puts a node before ``place``; returns its result, which has the type and shape of ``like``."""
    made = ir.Value(name=name) if like is None else ir.Value(name=name, type=like.type, shape=like.shape)
    place.prepend(ir.node(kind, inputs, attributes, outputs=[made], name=f"node_{name}"))
    return made
