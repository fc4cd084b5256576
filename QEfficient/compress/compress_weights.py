"""The pass that stores weights as codes, and turns them back where they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxscript import version_converter

from QEfficient.compress.grid import Grid, find_grid
from QEfficient.compress.weight_readers import BY_ROW, TABLE, TURNED, readers_of
from QEfficient.onnx_transforms import weights
from QEfficient.onnx_transforms.new_values import Names, initializer, insert

GROUP = 32
"""Numbers that share a step in 4 bits. MiniLM's mean cosine is 0.968 with 32, 0.959 with 64 and 0.948 with 128."""

SMALLEST = 1024
"""Numbers of a matrix; smaller ones are not worth their nodes."""

OPSETS = {8: 13, 4: 21}
"""The first opset whose ``DequantizeLinear`` takes a step for each column; and 4 bits, with a step for each group."""


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """What became of one weight.

    Attributes:
        name: Its name in the graph in fp32.
        before, after: Bytes in fp32, and as it is stored now, with its steps.
        held: Bytes where the matrices of products are turned back when they are loaded.
        bits: Of a number.
        kept: Why it stays in fp32; empty where it does not.
    """

    name: str
    before: int
    after: int
    held: int
    bits: int = 32
    kept: str = ""


class CompressWeights(ir.passes.InPlacePass):
    """Puts codes, steps and zeros in the place of weights, and before what reads them what turns them back.

    For a product that is ``DequantizeLinear``, which runtimes join with it. Of a table the rows are looked up first and
    turned back then: each run would turn back all of them otherwise.

    Args:
        bits: Of the products' matrices, 8 or 4. One whose inputs can't be cut into groups has 8, as a table has.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.found: list[StoredWeight] = []
        self.rest = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        if (model.graph.opset_imports.get("") or 0) < OPSETS[self.bits]:
            version_converter.convert_version(model, OPSETS[self.bits])
        names = Names(model)
        for value in list(model.graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or not value.uses():
                continue
            if tensor.size < SMALLEST or len(tensor.shape) < 2:
                self.rest += tensor.nbytes
            else:
                self.found.append(_compress(model.graph, value, tensor, names, self.bits))
        return ir.passes.PassResult(model, modified=any(not one.kept for one in self.found))


@dataclass(frozen=True, slots=True)
class _Stored:
    """What stands for a weight."""

    codes: ir.Value
    step: ir.Value
    zero: ir.Value
    group: int | None

    @property
    def nbytes(self) -> int:
        """Bytes of all three."""
        return sum(one.const_value.nbytes for one in (self.codes, self.step, self.zero) if one.const_value is not None)


def _compress(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol, names: Names, bits: int) -> StoredWeight:
    """Stores one weight in few bits, if that can be."""
    readers, kept = readers_of(value)
    kept = kept or not_finite(tensor)
    if kept:
        return StoredWeight(str(value.name), tensor.nbytes, tensor.nbytes, tensor.nbytes, kept=kept)
    by_row, turned = bool(readers & BY_ROW), TURNED in readers
    matrix = numbers_of(tensor, turned)
    group = GROUP if bits == 4 and not by_row and len(matrix) % GROUP == 0 else None
    grid = find_grid(matrix, bits if group else 8, int(by_row), group)
    flat = not by_row and group is None  # a step for each column stands in a vector
    step, zero = (grid.step.reshape(-1), grid.zero.reshape(-1)) if flat else (grid.step, grid.zero)
    stored = _Stored(
        initializer(graph, _codes(tensor, grid, turned), names.new(f"{value.name}_codes")),
        initializer(graph, step, names.new(f"{value.name}_step")),
        initializer(graph, narrow(zero, grid.bits), names.new(f"{value.name}_zero")),
        group,
    )
    for node, place in list(value.uses()):
        if node.op_type == "Gather":
            _look_up(node, stored, names)
            continue
        node.replace_input_with(place, _turn_back(node, stored, names.new(f"{value.name}_fp32"), matrix.shape, by_row))
        if turned:
            node.attributes["transB"] = ir.AttrInt64("transB", 0)
    held = (stored.nbytes if TABLE in readers else 0) + (0 if readers == {TABLE} else tensor.nbytes)
    return StoredWeight(str(value.name), tensor.nbytes, stored.nbytes, held, grid.bits)


def not_finite(tensor: ir.TensorProtocol) -> str:
    """Why a weight stays in fp32 whose numbers are not all finite; else empty."""
    finite = all(np.isfinite(block).all() for block in weights.blocks(tensor))
    return "" if finite else "it holds numbers that are not finite"


def numbers_of(tensor: ir.TensorProtocol, turned: bool) -> NDArray[np.float32]:
    """A weight as it will be stored, read in pieces: a mapped file would stay in memory."""
    found, done = np.empty(tensor.size, np.float32), 0
    for block in weights.blocks(tensor):
        found[done : done + block.size] = block
        done += block.size
    matrix = found.reshape(tensor.shape.numpy())
    return np.ascontiguousarray(matrix.T) if turned else matrix


def _codes(tensor: ir.TensorProtocol, grid: Grid, turned: bool) -> ir.TensorProtocol:
    """The codes of a weight, which are made when they are written."""
    shape = ir.Shape(reversed(tensor.shape.numpy()) if turned else tensor.shape.numpy())
    kind = ir.DataType.UINT8 if grid.bits == 8 else ir.DataType.UINT4
    return ir.LazyTensor(lambda: narrow(grid.codes(numbers_of(tensor, turned)), grid.bits), dtype=kind, shape=shape)


def narrow(codes: NDArray[np.uint8], bits: int) -> ir.TensorProtocol:
    """Codes as a tensor; of 4 bits there are two in a byte, the first one in its lower half."""
    if bits == 8:
        return ir.tensor(codes)
    flat = np.append(codes.reshape(-1), np.zeros(codes.size % 2, np.uint8))
    return ir.PackedTensor(flat[0::2] | (flat[1::2] << 4), ir.DataType.UINT4, shape=codes.shape)


def _turn_back(reader: ir.Node, stored: _Stored, name: str, shape: Sequence[int], by_row: bool) -> ir.Value:
    """The weight in fp32 again, right before what reads it."""
    attributes = {"axis": int(not by_row)} if stored.group is None else {"axis": 0, "block_size": stored.group}
    like = ir.Value(type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
    step, zero = stored.step, stored.zero
    if by_row:  # those of a table stand in a column
        step, zero = (insert(reader, "Squeeze", [one], f"{name}_{one.name}") for one in (step, zero))
    made = insert(reader, "DequantizeLinear", [stored.codes, step, zero], name, like, **attributes)
    return as_of(reader, made)


def _look_up(gather: ir.Node, stored: _Stored, names: Names) -> None:
    """Puts a table's rows in fp32, made of the rows of its codes, in the place of what looked them up."""
    rows, ids = gather.outputs[0], gather.inputs[1]
    assert ids is not None and gather.graph is not None  # Gather has two inputs, and was found in a graph

    def put(kind: str, inputs: Sequence[ir.Value], what: str, like: ir.Value | None = None, **given: int) -> ir.Value:
        return as_of(gather, insert(gather, kind, inputs, names.new(f"{rows.name}_{what}"), like, **given))

    codes = put("Gather", [stored.codes, ids], "codes", axis=0)
    zero = put("Gather", [stored.zero, ids], "zero", axis=0)
    step = put("Gather", [stored.step, ids], "step", axis=0)
    wide = [put("Cast", [one], "wide", to=ir.DataType.FLOAT) for one in (codes, zero)]
    found = put("Mul", [put("Sub", wide, "centred"), step], "fp32", rows)
    rows.replace_all_uses_with(found, replace_graph_outputs=True)
    gather.graph.remove(gather, safe=True)


def as_of(node: ir.Node, made: ir.Value) -> ir.Value:
    """A value whose node says that it came from the same module of torch as another one."""
    producer = made.producer()
    if producer is not None:
        producer.metadata_props.update(node.metadata_props)
    return made
