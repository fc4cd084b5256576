"""A graph's nodes as plain records: what measuring and searching need to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from QEfficient.numerics.check import Array, has_length
from QEfficient.onnx_transforms import read, run, weights
from QEfficient.records import OnnxModel

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
SHAPES_ONLY = frozenset({"Shape", "Size"})  # they look at no number


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node of the main graph that reads or makes floating-point numbers.

    Attributes:
        name: Name of its first output, as a node-precision file has it.
        op: Operator, with its domain where that is not the standard one.
        module: Path of its torch module, ``""`` where the graph does not say.
        inputs, outputs: Names of its floating-point values; constants apart.
        constants: Names of the floating-point weights and constants that it reads.
    """

    name: str
    op: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...]


def inlined(model: OnnxModel) -> ir.Model:
    """The graph with its functions inlined and the types of its values known as far as ONNX can tell."""
    graph = read(model.path)
    run(graph, (common.InlinePass(), infer_types()))
    return graph


def infer_types() -> ir.passes.PassBase:
    """The pass that finds the types of values, where the graph does not say them."""
    return common.ShapeInferencePass(check_type=False, strict_mode=False)


def outline(graph: ir.Model) -> tuple[NodeInfo, ...]:
    """The nodes of the main graph that have to do with floating-point numbers, in graph order."""
    found = []
    for node in graph.graph:
        if node.op_type in ("Constant", *SHAPES_ONLY):
            continue
        inputs = [value for value in reads(node) if is_float(value)]
        outputs = tuple(str(value.name) for value in node.outputs if value.name and is_float(value))
        constants = tuple(str(value.name) for value in inputs if weights.constant(value) is not None)
        varying = tuple(str(value.name) for value in inputs if weights.constant(value) is None)
        if outputs or varying:
            name, module = str(node.outputs[0].name), weights.node_module(node)
            found.append(NodeInfo(name, operator(node), module, varying, outputs, constants))
    return tuple(found)


def operator(node: ir.Node) -> str:
    """A node's operator, with its domain where that is not the standard one."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def is_float(value: ir.Value) -> bool:
    """Whether a value is a tensor that a card would hold in fp16."""
    return isinstance(value.type, ir.TensorType) and value.dtype in FLOATS


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node reads of its own graph, also in the graphs inside it, however deep."""
    values = [value for value in node.inputs if value is not None]
    for graph in weights.graphs_in(node):
        inner = [value for each in ir.traversal.RecursiveGraphIterator(graph) for value in each.inputs]
        values += [value for value in inner if value is not None and value.graph is node.graph]
    return list(dict.fromkeys(values))


def one_row(inputs: Mapping[str, Array], row: int) -> dict[str, Array]:
    """One row of a batch, without the padding behind it."""
    mask: NDArray[np.generic] | None = inputs.get("attention_mask")
    if mask is None or mask.ndim != 2:
        return {name: array[row : row + 1] for name, array in inputs.items()}
    length = int(np.flatnonzero(mask[row])[-1]) + 1 if mask[row].any() else mask.shape[1]
    return {
        name: array[row : row + 1, :length] if has_length(array, mask) else array[row : row + 1]
        for name, array in inputs.items()
    }
