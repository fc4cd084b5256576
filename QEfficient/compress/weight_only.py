"""Weights in 8 or 4 bits that the graph turns back into fp32 where they are read; its arithmetic stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common
from onnxscript import version_converter

from QEfficient.compress.grid import Grid, find_grid
from QEfficient.errors import UsageError
from QEfficient.onnx_transforms import apply, weights
from QEfficient.onnx_transforms.new_values import Names, initializer, insert
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.records import Json, OnnxModel

GROUP = 32
"""Numbers that share a step in 4 bits. MiniLM's mean cosine is 0.968 with 32, 0.959 with 64 and 0.948 with 128."""

SMALLEST = 1024
"""Numbers of a matrix; smaller ones are not worth their nodes."""

OPSETS = {8: 13, 4: 21}
"""The first opset whose ``DequantizeLinear`` takes a step for each column; and 4 bits, with a step for each group."""

PRODUCT, TURNED, TABLE = "a product's", "a turned product's", "a table's"


@dataclass(frozen=True, slots=True)
class Weight:
    """What became of one weight.

    Attributes:
        name: Its name in the graph in fp32.
        before, after: Bytes in fp32, and as it is stored now, with its steps.
        bits: Of a number.
        table: Whether its rows are looked up.
        kept: Why it stays in fp32; empty where it does not.
    """

    name: str
    before: int
    after: int
    bits: int = 32
    table: bool = False
    kept: str = ""


@dataclass(frozen=True, slots=True)
class WeightOnly:
    """A graph whose weights have few bits.

    Attributes:
        model: The graph.
        bits: What was asked for.
        weights: Each weight with two dims or more and :data:`SMALLEST` numbers or more.
        rest: Bytes of the others, which stay in fp32: vectors, and what is small.
    """

    model: OnnxModel
    bits: int
    weights: tuple[Weight, ...]
    rest: int

    def table(self) -> dict[str, Json]:
        """For the manifest: bytes, and what stays in fp32, and why.

        ``bytes_turned_back`` is what onnxruntime holds, which turns the matrices of products back when it loads them.
        """
        before = sum(one.before for one in self.weights) + self.rest
        small = [one for one in self.weights if not one.kept]
        kept = sorted((one for one in self.weights if one.kept), key=lambda one: (-one.before, one.name))
        return {
            "bits": self.bits,
            "group": GROUP if self.bits == 4 else None,
            "weights": {str(bits): sum(one.bits == bits for one in small) for bits in (8, 4)},
            "share": sum(one.before for one in small) / before,
            "bytes_before": before,
            "bytes_after": sum(one.after for one in self.weights) + self.rest,
            "bytes_turned_back": sum(one.after if one.table else one.before for one in self.weights) + self.rest,
            "left_out": [{"weight": one.name, "bytes": one.before, "reason": one.kept} for one in kept],
        }


def to_weight_only(model: OnnxModel, bits: int, folder: Path) -> WeightOnly:
    """Stores a graph's weights in few bits. One weight is in memory at a time.

    A product's matrix has a step for each output; in 4 bits, for each :data:`GROUP` inputs of each output. A table, as
    that of the words, has 8 bits in any case and a step for each row. What other operators read stays in fp32: kernels
    of convolutions, and the stacked matrices of a mixture's experts.

    Args:
        model: The graph in fp32.
        bits: 8 or 4.
        folder: An empty folder for the graph.

    Raises:
        UsageError: The graph has no such weight.
    """
    compress = CompressWeights(bits)
    inline = (common.InlinePass,) if model.functions else ()
    made = apply(model, folder, passes=(*inline, lambda: compress, RemoveDeadCode))
    if all(one.kept for one in compress.found):
        raise UsageError(
            "The graph has no weights that can be stored in fewer bits.",
            got=f"{len(compress.found)} weights of {SMALLEST} numbers or more, none of them a product's or a table's",
            allowed="a graph with matrix products or tables whose weights are constants in float32",
            do="leave compute out",
        )
    return WeightOnly(made, bits, tuple(compress.found), compress.rest)


class CompressWeights(ir.passes.InPlacePass):
    """Puts codes, steps and zeros in the place of weights, and before what reads them what turns them back.

    For a product that is ``DequantizeLinear``, which runtimes join with it. Of a table the rows are looked up first and
    turned back then: each run would turn back all of them otherwise.

    Args:
        bits: Of the products' matrices, 8 or 4. One whose inputs can't be cut into groups has 8, as a table has.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.found: list[Weight] = []
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


def _compress(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol, names: Names, bits: int) -> Weight:
    """Stores one weight in few bits, if that can be."""
    readers = {_reader(node, place) for node, place in value.uses()}
    kept = _reason(value, readers) or _not_finite(tensor)
    if kept:
        return Weight(str(value.name), tensor.nbytes, tensor.nbytes, kept=kept)
    reader = readers.pop()
    matrix = _matrix(tensor, reader)
    group = GROUP if bits == 4 and reader != TABLE and len(matrix) % GROUP == 0 else None
    grid = find_grid(matrix, bits if group else 8, int(reader == TABLE), group)
    vectors = group is None and reader != TABLE
    stored = _Stored(
        initializer(graph, _codes(tensor, reader, grid), names.new(f"{value.name}_codes")),
        initializer(graph, grid.step.reshape(-1) if vectors else grid.step, names.new(f"{value.name}_step")),
        initializer(
            graph, _narrow(grid.zero.reshape(-1) if vectors else grid.zero, grid.bits), names.new(f"{value.name}_zero")
        ),
        group,
    )
    for node, place in list(value.uses()):
        if reader == TABLE:
            _look_up(node, stored, names)
        else:
            node.replace_input_with(place, _turn_back(node, stored, names.new(f"{value.name}_fp32"), matrix.shape))
        if reader == TURNED:
            node.attributes["transB"] = ir.AttrInt64("transB", 0)
    return Weight(str(value.name), tensor.nbytes, stored.nbytes, grid.bits, reader == TABLE)


def _reader(node: ir.Node, place: int) -> str:
    """What a weight is to a node that reads it; the operator's name where that is neither a product nor a table."""
    if node.domain == "" and node.op_type == "MatMul" and place == 1:
        return PRODUCT
    if node.domain == "" and node.op_type == "Gemm" and place == 1:
        return TURNED if node.attributes.get_int("transB", 0) else PRODUCT
    if node.domain == "" and node.op_type == "Gather" and place == 0 and node.attributes.get_int("axis", 0) == 0:
        return TABLE
    return node.op_type


def _reason(value: ir.Value, readers: set[str]) -> str:
    """Why a weight stays in fp32."""
    dims = len(value.shape or ())
    if value.is_graph_input() or value.is_graph_output():
        return "it is an input or an output of the graph"
    if others := readers - {PRODUCT, TURNED, TABLE}:
        return f"{' and '.join(sorted(others))} reads it"
    if dims != 2:
        return f"it has {dims} dims"
    return "" if len(readers) == 1 else "it is read in several ways"


def _not_finite(tensor: ir.TensorProtocol) -> str:
    finite = all(np.isfinite(block).all() for block in weights.blocks(tensor))
    return "" if finite else "it holds numbers that are not finite"


def _matrix(tensor: ir.TensorProtocol, reader: str) -> NDArray[np.float32]:
    """A weight as it will be stored, read in pieces: a mapped file would stay in memory."""
    found, done = np.empty(tensor.size, np.float32), 0
    for block in weights.blocks(tensor):
        found[done : done + block.size] = block
        done += block.size
    matrix = found.reshape(tensor.shape.numpy())
    return np.ascontiguousarray(matrix.T) if reader == TURNED else matrix


def _codes(tensor: ir.TensorProtocol, reader: str, grid: Grid) -> ir.TensorProtocol:
    """The codes of a weight, which are made when they are written."""
    shape = ir.Shape(reversed(tensor.shape.numpy()) if reader == TURNED else tensor.shape.numpy())
    kind = ir.DataType.UINT8 if grid.bits == 8 else ir.DataType.UINT4
    return ir.LazyTensor(lambda: _narrow(grid.codes(_matrix(tensor, reader)), grid.bits), dtype=kind, shape=shape)


def _narrow(codes: NDArray[np.uint8], bits: int) -> ir.TensorProtocol:
    """Codes as a tensor; of 4 bits there are two in a byte, the first one in its lower half."""
    if bits == 8:
        return ir.tensor(codes)
    flat = np.append(codes.reshape(-1), np.zeros(codes.size % 2, np.uint8))
    return ir.PackedTensor(flat[0::2] | (flat[1::2] << 4), ir.DataType.UINT4, shape=codes.shape)


def _turn_back(product: ir.Node, stored: _Stored, name: str, shape: Sequence[int]) -> ir.Value:
    """The weight in fp32 again, right before the product that reads it."""
    attributes = {"axis": 1} if stored.group is None else {"axis": 0, "block_size": stored.group}
    like = ir.Value(type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
    made = insert(product, "DequantizeLinear", [stored.codes, stored.step, stored.zero], name, like, **attributes)
    return _as_of(product, made)


def _look_up(gather: ir.Node, stored: _Stored, names: Names) -> None:
    """Puts a table's rows in fp32, made of the rows of its codes, in the place of what looked them up."""
    rows, ids = gather.outputs[0], gather.inputs[1]
    assert ids is not None and gather.graph is not None  # Gather has two inputs, and was found in a graph

    def put(kind: str, inputs: Sequence[ir.Value], what: str, like: ir.Value | None = None, **given: int) -> ir.Value:
        return _as_of(gather, insert(gather, kind, inputs, names.new(f"{rows.name}_{what}"), like, **given))

    codes = put("Gather", [stored.codes, ids], "codes", axis=0)
    zero = put("Gather", [stored.zero, ids], "zero", axis=0)
    step = put("Gather", [stored.step, ids], "step", axis=0)
    wide = [put("Cast", [one], "wide", to=ir.DataType.FLOAT) for one in (codes, zero)]
    found = put("Mul", [put("Sub", wide, "centred"), step], "fp32", rows)
    rows.replace_all_uses_with(found, replace_graph_outputs=True)
    gather.graph.remove(gather, safe=True)


def _as_of(node: ir.Node, made: ir.Value) -> ir.Value:
    """A value whose node says that it came from the same module of torch as another one."""
    producer = made.producer()
    if producer is not None:
        producer.metadata_props.update(node.metadata_props)
    return made
