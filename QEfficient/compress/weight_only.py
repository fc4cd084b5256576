"""Weights in 8 or 4 bits that the graph turns back into fp32 where they are read; the arithmetic stays as it is."""

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
from QEfficient.onnx_transforms.new_values import Names, initializer
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.records import Json, OnnxModel

GROUP = 32
"""Numbers that share a step in 4 bits. MiniLM's mean cosine is 0.968 with 32, 0.959 with 64 and 0.948 with 128."""

SMALLEST = 1024
"""Numbers of a matrix; smaller ones are not worth the nodes."""

OPSETS = {8: 13, 4: 21}
"""The first opset whose DequantizeLinear takes a step for each column, and 4 bits in groups."""

CODES = {8: ir.DataType.UINT8, 4: ir.DataType.UINT4}


@dataclass(frozen=True, slots=True)
class Weight:
    """What became of one weight.

    Attributes:
        name: Its name in the graph in fp32.
        before, after: Bytes in fp32, and as it is stored now.
        bits: Of a number.
        group: Numbers that share a step; ``None``: those of an output of a product, or of a row of a table.
        kept: Why it stays in fp32; empty where it does not.
    """

    name: str
    before: int
    after: int
    bits: int = 32
    group: int | None = None
    kept: str = ""


@dataclass(frozen=True, slots=True)
class WeightOnly:
    """A graph whose weights have few bits.

    Attributes:
        model: The graph.
        bits: What was asked for; a table has 8 in any case.
        weights: Each weight with two and more dims and :data:`SMALLEST` numbers.
        rest: Bytes of the others, which stay in fp32: vectors, and what is small.
    """

    model: OnnxModel
    bits: int
    weights: tuple[Weight, ...]
    rest: int

    def table(self) -> dict[str, Json]:
        """For the manifest: bytes before and after, and what stays in fp32, and why."""
        before = sum(one.before for one in self.weights) + self.rest
        small = [one for one in self.weights if not one.kept]
        kept = sorted((one for one in self.weights if one.kept), key=lambda one: (-one.before, one.name))
        return {
            "bits": self.bits,
            "group": GROUP if self.bits == 4 else None,
            "weights": len(small),
            "weights_by_bits": {str(bits): sum(one.bits == bits for one in small) for bits in (8, 4)},
            "share": sum(one.before for one in small) / before,
            "bytes_before": before,
            "bytes_after": sum(one.after for one in self.weights) + self.rest,
            "left_out": [{"weight": one.name, "bytes": one.before, "reason": one.kept} for one in kept],
        }


def to_weight_only(model: OnnxModel, bits: int, folder: Path) -> WeightOnly:
    """Stores a graph's weights in few bits. One weight is in memory at a time.

    Matrices of products have a step for each output, in 4 bits for each :data:`GROUP` inputs of each; tables, as that
    of the words, have 8 bits and a step for each row. What other operators read stays in fp32: kernels of convolutions,
    and the matrices of a mixture's experts, which are stacked.

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
            got=f"{len(compress.found)} weights of {SMALLEST} numbers and more, none of a matrix product or a table",
            allowed="a graph with matrix products or tables of constants in float32",
            do="leave compute out",
        )
    return WeightOnly(made, bits, tuple(compress.found), compress.rest)


class CompressWeights(ir.passes.InPlacePass):
    """Puts codes, steps and zeros in the place of weights, and what turns them back where they are read.

    A product reads them through ``DequantizeLinear``. Of a table the rows are looked up first and turned back then:
    each run would turn back all of them otherwise.

    Args:
        bits: Of the products' weights, 8 or 4. A table has 8, and so has a matrix whose inputs can't be cut into groups.
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
                self.found.append(_compressed(model.graph, value, tensor, names, self.bits))
        return ir.passes.PassResult(model, modified=any(not one.kept for one in self.found))


def _compressed(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol, names: Names, bits: int) -> Weight:
    """Stores one weight in few bits, if that can be."""
    name = str(value.name)
    axis, kept = _summed_axis(value)
    if not kept and not all(np.isfinite(block).all() for block in weights.blocks(tensor)):
        kept = "holds numbers that are not finite"
    if kept:
        return Weight(name, tensor.nbytes, tensor.nbytes, kept=kept)
    table = _is_table(value)
    grouped = bits == 4 and not table and tensor.shape.numpy()[axis] % GROUP == 0
    group = GROUP if grouped else None
    grid = find_grid(_matrix(tensor), 4 if grouped else 8, axis, group)
    parts = _Parts(
        initializer(graph, _codes(tensor, grid), names.new(f"{name}_codes")),
        initializer(graph, grid.step if grouped or table else grid.step.reshape(-1), names.new(f"{name}_step")),
        initializer(graph, _zeros(grid, whole=grouped or table), names.new(f"{name}_zero")),
    )
    for node, place in list(value.uses()):
        if table:
            _look_up(node, parts, names)
        else:
            node.replace_input_with(place, _turned_back(node, value, parts, names, group))
    return Weight(name, tensor.nbytes, parts.nbytes, grid.bits, group)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a weight is stored as."""

    codes: ir.Value
    step: ir.Value
    zero: ir.Value

    @property
    def nbytes(self) -> int:
        return sum(one.const_value.nbytes for one in (self.codes, self.step, self.zero) if one.const_value is not None)


def _summed_axis(value: ir.Value) -> tuple[int, str]:
    """The dim of a weight that a product sums over, or that a table looks up whole; or why it must stay as it is."""
    rank, readers = len(value.shape or ()), sorted({node.op_type for node, _ in value.uses()})
    if value.is_graph_input() or value.is_graph_output():
        return 0, "is an input or an output of the graph"
    if rank != 2:
        return 0, f"{' and '.join(readers)} {'reads' if len(readers) == 1 else 'read'} it, of {rank} dims"
    axes = {_axis_of(node, place) for node, place in value.uses()}
    axis = axes.pop()
    if axes or axis is None:
        return 0, f"{' and '.join(readers)} {'reads' if len(readers) == 1 else 'read'} it"
    if len({node.op_type == "Gather" for node, _ in value.uses()}) > 1:
        return 0, "is a table and the weight of a product"
    return axis, ""


def _axis_of(node: ir.Node, place: int) -> int | None:
    """The dim of its input that a node sums over, or looks up whole; ``None``: it is another operator."""
    if node.domain:
        return None
    if node.op_type == "MatMul" and place == 1:
        return 0
    if node.op_type == "Gemm" and place == 1:
        return 1 if node.attributes.get_int("transB", 0) else 0
    if node.op_type == "Gather" and place == 0 and node.attributes.get_int("axis", 0) in (0, -2):
        return 1
    return None


def _is_table(value: ir.Value) -> bool:
    return any(node.op_type == "Gather" for node, _ in value.uses())


def _matrix(tensor: ir.TensorProtocol) -> NDArray[np.float32]:
    """The numbers of a weight, read in pieces: a mapped file would stay in memory."""
    found, done = np.empty(tensor.size, np.float32), 0
    for block in weights.blocks(tensor):
        found[done : done + block.size] = block
        done += block.size
    return found.reshape(tensor.shape.numpy())


def _codes(tensor: ir.TensorProtocol, grid: Grid) -> ir.TensorProtocol:
    """The codes of a weight, which are made when they are written."""

    def make() -> ir.TensorProtocol:
        codes = grid.codes(_matrix(tensor))
        return ir.tensor(codes) if grid.bits == 8 else _packed(codes)

    return ir.LazyTensor(make, dtype=CODES[grid.bits], shape=ir.Shape(tensor.shape.numpy()))


def _zeros(grid: Grid, *, whole: bool) -> ir.TensorProtocol:
    zeros = grid.zero if whole else grid.zero.reshape(-1)
    return ir.tensor(zeros) if grid.bits == 8 else _packed(zeros)


def _packed(codes: NDArray[np.uint8]) -> ir.TensorProtocol:
    """Two codes of 4 bits a byte, the first one in the lower half."""
    flat = codes.reshape(-1)
    pairs = np.append(flat, np.uint8(0)) if flat.size % 2 else flat
    return ir.PackedTensor(pairs[0::2] | (pairs[1::2] << 4), CODES[4], shape=codes.shape)


def _turned_back(node: ir.Node, value: ir.Value, parts: _Parts, names: Names, group: int | None) -> ir.Value:
    """The weight in fp32 again, right before the product that reads it."""
    axis, _ = _summed_axis(value)
    made = ir.Value(name=names.new(f"{value.name}_fp32"), type=value.type, shape=value.shape)
    attributes = {"axis": 1 - axis} if group is None else {"axis": axis, "block_size": group}
    inputs = [parts.codes, parts.step, parts.zero]
    node.prepend(ir.node("DequantizeLinear", inputs, attributes, outputs=[made], name=f"node_{made.name}"))
    return made


def _look_up(gather: ir.Node, parts: _Parts, names: Names) -> None:
    """Rows of a table in fp32, from those of its codes."""
    rows = gather.outputs[0]
    name = str(rows.name)

    def put(kind: str, inputs: Sequence[ir.Value | None], what: str, **attributes: int) -> ir.Value:
        made = ir.Value(name=names.new(f"{name}_{what}"))
        gather.prepend(ir.node(kind, inputs, attributes, outputs=[made], name=f"node_{made.name}"))
        return made

    codes, step, zero = (
        put("Gather", [part, gather.inputs[1]], what, axis=0)
        for part, what in ((parts.codes, "codes"), (parts.step, "step"), (parts.zero, "zero"))
    )
    float_codes = put("Cast", [codes], "code_numbers", to=ir.DataType.FLOAT)
    float_zero = put("Cast", [zero], "zero_number", to=ir.DataType.FLOAT)
    centred = put("Sub", [float_codes, float_zero], "centred")
    scaled = ir.node(
        "Mul", [centred, step], outputs=[ir.Value(name=names.new(f"{name}_fp32"))], name=f"node_{name}_fp32"
    )
    scaled.outputs[0].type, scaled.outputs[0].shape = rows.type, rows.shape
    gather.prepend(scaled)
    scaled.metadata_props.update(gather.metadata_props)
    rows.replace_all_uses_with(scaled.outputs[0], replace_graph_outputs=True)
    graph = gather.graph
    assert graph is not None
    graph.remove(gather, safe=True)
