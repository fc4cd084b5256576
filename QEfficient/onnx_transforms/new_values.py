"""What passes put into a graph: names that are free, constants and initializers."""

from __future__ import annotations

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
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(numbers.shape), const_value=tensor)
    return ir.node("Constant", [], {"value": tensor}, outputs=[value], name=f"node_{name}")


def initializer(graph: ir.Graph, numbers: NDArray[np.generic], name: str) -> ir.Value:
    """An initializer of the graph that holds these numbers."""
    tensor = ir.tensor(numbers, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(numbers.shape), const_value=tensor)
    graph.register_initializer(value)
    return value
