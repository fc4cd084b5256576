"""What the passes share: walking a model, and reading weights in pieces.

A memory-mapped weight counts as resident memory once it was read, so a pass that looks at every weight through
``numpy()`` peaks at the size of the model. :func:`blocks` reads files in small pieces instead.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Container, Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

BLOCK_BYTES = 4 * 2**20
NAME_SCOPES = "pkg.torch.onnx.name_scopes"
_NO_MODULE = "_empty_nn_module_stack"  # what the exporter writes where torch knows no module


def blocks(tensor: ir.TensorProtocol, block_bytes: int = BLOCK_BYTES) -> Iterator[NDArray[np.generic]]:
    """The values of ``tensor`` in order, as flat arrays of at most ``block_bytes``.

    A piece of a file is valid until the next one is asked for. Types narrower than a byte come as bytes.
    """
    if not isinstance(tensor, ir.ExternalTensor):
        values = tensor.numpy().reshape(-1)
        step = max(1, block_bytes // max(1, values.itemsize))
        for start in range(0, values.size, step):
            yield values[start : start + step]
        return
    dtype = np.dtype(np.uint8) if tensor.dtype.bitwidth < 8 else tensor.dtype.numpy().newbyteorder("<")
    left = tensor.nbytes
    buffer = bytearray(min(left, block_bytes - block_bytes % dtype.itemsize))
    with open(tensor.path, "rb") as file:
        file.seek(tensor.offset or 0)
        while left:
            piece = memoryview(buffer)[: min(left, len(buffer))]
            if file.readinto(piece) != len(piece):
                raise OSError(f"{tensor.path} ended inside tensor {tensor.name!r}")
            yield np.frombuffer(piece, dtype=dtype)
            left -= len(piece)


def roots(model: ir.Model) -> tuple[ir.Graph | ir.Function, ...]:
    """The main graph and every function."""
    return (model.graph, *model.functions.values())


def nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node: of the main graph, of subgraphs, of functions and of their subgraphs."""
    for root in roots(model):
        yield from ir.traversal.RecursiveGraphIterator(root)


def each(model: ir.Model, change: Callable[[ir.Node], bool]) -> ir.passes.PassResult:
    """Calls ``change`` with every node that is there now; it says whether it changed something."""
    changes = [change(node) for node in list(nodes(model))]
    return ir.passes.PassResult(model, modified=any(changes))


def graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph and every subgraph, those inside functions included. Functions hold no initializers."""
    yield model.graph
    for root in roots(model):
        yield from root.subgraphs()


def graphs_in(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that a node holds: branches, the body of a loop."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def initializers(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """The tensor of every initializer."""
    for graph in graphs(model):
        yield from (value.const_value for value in graph.initializers.values() if value.const_value is not None)


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or a Constant node; ``None`` for anything that a caller may change."""
    if value is None or value.is_graph_input():
        return None
    if value.is_initializer():
        return value.const_value
    node = value.producer()
    return ir.convenience.get_const_tensor(value) if node is not None and node.op_type == "Constant" else None


def makers(value: ir.Value | None, inside: Container[ir.Node] | None = None) -> set[ir.Node]:
    """Every node that a value is made by, however far up; ``inside``: as far as these go."""
    found: set[ir.Node] = set()
    waiting = [value.producer()] if value is not None else []
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found and (inside is None or node in inside):
            found.add(node)
            waiting += node.predecessors()
    return found


def module_path(value: ir.Value) -> str:
    """The torch module that uses ``value``: ``"encoder.layer.0.output"``; ``""`` where the graph does not say."""
    return next((path for path in map(node_module, value.consumers()) if path), "")


def node_module(node: ir.Node) -> str:
    """The torch module that ``node`` was exported from; ``""`` for the model itself or where the graph does not say."""
    # The exporter writes a list: the modules from the outside in, then the operation.
    scopes = node.metadata_props.get(NAME_SCOPES)
    path = str(ast.literal_eval(scopes)[-2:][0]) if scopes else ""
    return "" if path.startswith(_NO_MODULE) else path
