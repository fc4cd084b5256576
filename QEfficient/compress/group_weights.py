"""The pass that stores a decoder's weights as codes in groups, and turns them back where they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common
from onnxscript import version_converter

from QEfficient.compress.compress_weights import GROUP, SMALLEST, StoredWeight, as_of, narrow, not_finite, numbers_of
from QEfficient.compress.fit_grid import fit_grid
from QEfficient.compress.grid import Codes, Grid, find_grid
from QEfficient.compress.rounded_weights import RoundedWeights
from QEfficient.compress.weight_readers import TABLE, is_by_output, readers_of
from QEfficient.onnx_transforms import weights
from QEfficient.onnx_transforms.cache_functions import DOMAIN
from QEfficient.onnx_transforms.new_values import Names, initializer, insert

OPSET = 21
"""The first one whose ``DequantizeLinear`` knows groups, and 4 bits."""

GROUPS = (64, GROUP, 16)
"""Numbers that may share a step. Where none of them divides a product's inputs, each output has one step."""


def group_of(inputs: int, most: int = GROUP) -> int | None:
    """Numbers that share a step: of :data:`GROUPS` the first that divides a product's inputs and is not above ``most``.

    >>> group_of(576), group_of(576, 64), group_of(48, 64), group_of(10)
    (32, 64, 16, None)
    """
    return next((size for size in GROUPS if size <= most and inputs % size == 0), None)


_CHANGED = frozenset({"AveragePool", "DFT", "GridSample", "GroupNormalization", "Resize"})  # from opset 18 to 21


class GroupWeights(ir.passes.InPlacePass):
    """Puts codes, steps and zeros in the place of weights, and before what reads them what turns them back.

    Every product's matrix is stored by output, ``(outputs, inputs)``, with a step for each group of its inputs: the
    order of bytes that runtimes multiply with as it stands (``onnx_transforms.narrow_products``). A table has 8 bits;
    one that a product of 4 bits reads too is stored in both forms, as the words' scores are the largest product. Its
    rows are looked up first and turned back then.

    Args:
        bits: Of the products' matrices, 8 or 4.
        group: The most inputs that share a step.
        rounded: Matrices whose grids and codes are found already; those of the others are nearest to their numbers.
    """

    def __init__(self, bits: int, group: int = GROUP, rounded: RoundedWeights | None = None) -> None:
        self.bits, self.group, self.rounded = bits, group, rounded
        self.found: list[StoredWeight] = []
        self.rest = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        _raise_opset(model)
        names = Names(model)
        for value in list(model.graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or not value.uses():
                continue
            if tensor.size < SMALLEST or len(tensor.shape) < 2:
                self.rest += tensor.nbytes
            else:
                self.found.append(_Weight(model.graph, value, tensor, names, self).store())
        return ir.passes.PassResult(model, modified=any(not one.kept for one in self.found))


def _raise_opset(model: ir.Model) -> None:
    """The opset that has groups. The functions that address caches stay: they are what a joined form looks for."""
    if (model.graph.opset_imports.get("") or 0) >= OPSET:
        return
    common.InlinePass(lambda function: function.domain != DOMAIN)(model)
    if any(node.op_type in _CHANGED and not node.domain for node in weights.nodes(model)):
        version_converter.convert_version(model, OPSET)
        return
    for part in weights.roots(model):  # no other operator means anything else
        part.opset_imports[""] = OPSET


class _Weight:
    """One weight, and what reads it."""

    def __init__(
        self, graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol, names: Names, how: GroupWeights
    ) -> None:
        self._graph, self._value, self._tensor, self._names, self._how = graph, value, tensor, names, how
        self._by_output = True
        self._bytes = 0

    def store(self) -> StoredWeight:
        """Stores it in few bits, if that can be."""
        name, before = str(self._value.name), self._tensor.nbytes
        readers, kept = readers_of(self._value)
        kept = kept or not_finite(self._tensor)
        if kept:
            return StoredWeight(name, before, before, before, kept=kept)
        self._by_output = is_by_output(readers)
        uses = list(self._value.uses())
        looked_up = [node for node, _ in uses if node.op_type == "Gather"]
        multiplied = [(node, place) for node, place in uses if node.op_type != "Gather"]
        bits, rounded = self._how.bits if multiplied else 8, self._how.rounded
        if rounded is not None and bits == rounded.bits and name in rounded:
            grid = rounded.grid(name)
            stored = self._stored(grid, codes=lambda: rounded.codes(name))
        else:
            grid = self._grid(bits)
            stored = self._stored(grid)
        for node in looked_up:
            table = stored if grid.bits == 8 else self._stored(self._grid(8), "_table")
            _look_up(node, table, self._names)
        for node, place in multiplied:
            self._turn_back(node, place, stored, grid)
        held = 0 if readers == {TABLE} else before
        return StoredWeight(name, before, self._bytes, self._bytes + held, grid.bits)

    def _sizes(self) -> tuple[int, int]:
        rows, columns = self._tensor.shape.numpy()
        return (rows, columns) if self._by_output else (columns, rows)

    def _matrix(self) -> NDArray[np.float32]:
        return numbers_of(self._tensor, turned=not self._by_output)

    def _grid(self, bits: int) -> Grid:
        matrix = self._matrix()
        group = group_of(matrix.shape[1], self._how.group)
        return fit_grid(matrix, bits, group) if group else find_grid(matrix, 8, 1)

    def _stored(
        self, grid: Grid, what: str = "", codes: Callable[[], Codes] | None = None
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Codes, steps and zeros; the codes are made when they are written: nearest to the numbers if nobody says."""
        kind = ir.DataType.UINT8 if grid.bits == 8 else ir.DataType.UINT4
        made = codes or (lambda: grid.codes(self._matrix()))
        late = ir.LazyTensor(lambda: narrow(made(), grid.bits), dtype=kind, shape=ir.Shape(self._sizes()))
        parts = {"codes": late, "step": ir.tensor(grid.step), "zero": narrow(grid.zero, grid.bits)}
        found = [
            initializer(self._graph, one, self._names.new(f"{self._value.name}{what}_{part}"))
            for part, one in parts.items()
        ]
        self._bytes += sum(one.const_value.nbytes for one in found if one.const_value is not None)
        return found[0], found[1], found[2]

    def _turn_back(self, node: ir.Node, place: int, stored: Sequence[ir.Value], grid: Grid) -> None:
        """The weight in fp32 again, right before what reads it."""
        codes, step, zero = stored
        name = self._names.new(f"{self._value.name}_fp32")
        outputs, inputs = self._sizes()
        like = ir.Value(type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([outputs, inputs]))
        group = inputs // grid.step.shape[1]
        made = insert(node, "DequantizeLinear", [codes, step, zero], name, like, axis=1, block_size=group)
        made = as_of(node, made)
        if not self._by_output:
            turned = ir.Value(type=like.type, shape=ir.Shape([inputs, outputs]))
            made = as_of(node, insert(node, "Transpose", [made], self._names.new(f"{name}_turned"), turned))
        node.replace_input_with(place, made)


def _look_up(gather: ir.Node, stored: Sequence[ir.Value], names: Names) -> None:
    """Puts a table's rows in fp32, made of the rows of its codes, in the place of what looked them up."""
    rows, ids = gather.outputs[0], gather.inputs[1]
    codes, step, zero = stored
    graph = gather.graph
    assert ids is not None and isinstance(graph, ir.Graph)  # a Gather of a table, in the main graph or a branch
    assert codes.const_value is not None and step.const_value is not None
    width, groups = codes.const_value.shape.numpy()[1], step.const_value.shape.numpy()[1]
    same = [0] * len(ids.shape or ())

    def put(kind: str, inputs: Sequence[ir.Value], what: str, like: ir.Value | None = None, **given: int) -> ir.Value:
        return as_of(gather, insert(gather, kind, inputs, names.new(f"{rows.name}_{what}"), like, **given))

    def numbers(values: list[int], what: str) -> ir.Value:
        return initializer(graph, np.array(values, np.int64), names.new(f"{rows.name}_{what}"))

    def row(of: ir.Value, what: str, size: list[int]) -> ir.Value:
        found = put("Gather", [of, ids], what, axis=0)
        found = put("Cast", [found], f"{what}_wide", to=ir.DataType.FLOAT) if of is not step else found
        return (
            put("Reshape", [found, numbers([*same, *size], f"{what}_size")], f"{what}_split") if groups > 1 else found
        )

    centred = put("Sub", [row(codes, "codes", [groups, width // groups]), row(zero, "zero", [groups, 1])], "centred")
    like = None if groups > 1 else rows
    found = put("Mul", [centred, row(step, "step", [groups, 1])], "fp32", like)
    if groups > 1:
        found = put("Reshape", [found, numbers([*same, width], "size")], "whole", rows)
    rows.replace_all_uses_with(found, replace_graph_outputs=True)
    graph.remove(gather, safe=True)
