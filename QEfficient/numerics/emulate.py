"""The card's numbers on the host: a graph rewritten so that fp32 kernels compute what an fp16 program would.

With ``-convert-to-fp16`` a card holds every weight and every activation in fp16. Here each of them is rounded to fp16
and widened again, so a value past ±65504 becomes infinite as it would there. What a kernel does inside stays fp32: a
matrix product of a card sums in more than fp16 too, but neither its order nor the vendor's approximations of exp, erf
and so on are published, so equality in each bit with a card is not claimed.

A node in ``Precision.fp32_nodes`` computes in fp32: it reads the weights as they are, and inputs as their makers left
them. Between two such nodes nothing is rounded; an fp16 node that reads one rounds what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from QEfficient.backends.base import Session
from QEfficient.backends.card_options import raw_file_name
from QEfficient.backends.host import NARROW
from QEfficient.backends.onnxruntime import OnnxRuntimeSession
from QEfficient.backends.retained import state_pairs
from QEfficient.cache import Cache
from QEfficient.errors import TransformError
from QEfficient.numerics.formats import Format
from QEfficient.numerics.outline import inlined, is_float
from QEfficient.numerics.precision_file import check_names
from QEfficient.numerics.precision_file import read as read_precision_file
from QEfficient.numerics.rounded import Rounded
from QEfficient.onnx_transforms import new_values, run, weights
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.onnx_transforms.store_weights import StoreWeights
from QEfficient.records import (
    MODEL,
    CompileOptions,
    GraphFacts,
    Manifest,
    OnnxModel,
    Program,
    Shape,
    Target,
    TensorSpec,
)

EXACT = frozenset(
    """Abs Concat Expand Flatten Gather GatherElements GatherND Identity If Loop Max MaxPool Min Neg Relu Reshape Scan
    ScatterElements ScatterND Sign Slice Split Squeeze Tile Transpose Unsqueeze Where""".split()
)
"""Operators whose results are among the numbers they read, or negatives of these, or 0 or 1: fp16 in, fp16 out."""
PRODUCTS = frozenset({"MatMul", "Gemm"})


@dataclass(frozen=True, slots=True)
class Precision:
    """What a program computes in.

    Attributes:
        half: Every weight and activation in fp16, as with ``-convert-to-fp16``.
        weights: Block format of the weights of matrix products, before they are rounded to fp16; ``None``: none. A
            weight that another operator reads too keeps its own numbers there.
        fp32_nodes: First output names of nodes that stay in fp32 (``-node-precision-info``).
    """

    half: bool = True
    weights: Format | None = None
    fp32_nodes: frozenset[str] = frozenset()


FULL = Precision(half=False)
LOWER = ("bf16", "int8", *NARROW)
"""Precisions of a host."""


def precision_of(options: CompileOptions, target: Target, folder: Path | None = None) -> Precision:
    """What a program compiled with these options and this target computes in.

    Args:
        options: As the caller gave them, or as a manifest holds them.
        target: Its precision counts.
        folder: The program's folder, which the files of a card program's manifest are relative to.

    Raises:
        OptionError: The node-precision file can't be read.
    """
    forced: dict[str, str | Path] = {}
    for position, flag in enumerate(options.raw):
        name, _, value = flag.partition("=")
        forced[name] = options.files.get(raw_file_name(position), value)
    file = options.files.get("node_precision_info", forced.get("-node-precision-info"))
    half = target.compute == "fp16" or "-convert-to-fp16" in forced
    sixes = bool(options.flags.get("mxfp6_matmul")) or "-mxfp6-matmul" in forced
    fp32 = read_precision_file((folder or Path()) / file).fp32 if file else frozenset()
    return Precision(half=half, weights="mxfp6" if sixes else None, fp32_nodes=fp32)


def computed_in(options: CompileOptions, target: Target, folder: Path | None = None) -> Precision:
    """What a program of any backend computes in; the card's options do nothing on the host."""
    return FULL if target.compute in ("fp32", *LOWER) else precision_of(options, target, folder)


def limits_name(precision: Precision, target: Target) -> str:
    """Whose default limits count, of :data:`QEfficient.numerics.verify.LIMITS`."""
    if target.compute in LOWER:
        return target.compute
    if precision.weights is not None:
        return "mxint8" if precision.weights == "mxint8" else "mxfp6"
    return "fp16" if precision.half else "fp32"


def emulated(model: OnnxModel, folder: Path, precision: Precision, *, watch: Sequence[str] = ()) -> OnnxModel:
    """Writes ``folder/model.onnx``, a graph that computes ``model`` in ``precision``.

    Functions are inlined. Every value keeps its name, and has under it what its maker leaves: rounded by an fp16 node,
    as it is by an fp32 one. Weights are read, rounded and written in pieces. State (``backends/retained.py``) is fp16
    between runs: whoever runs the graph gives it so, and gets it so, also from an fp32 node.

    Args:
        model: Stays as it is.
        folder: Made if needed; takes the graph and a data file beside it.
        precision: What to compute in.
        watch: Names of values of the main graph that become further outputs, in this order.

    Returns:
        The new graph, without a digest; its inputs and first outputs are those of ``model``.

    Raises:
        OptionError: ``fp32_nodes`` or ``watch`` names something that the graph does not have.
        TransformError: The graph uses an operator whose result type is not known.
        CorruptArtefactError: The graph or its data can't be read.
    """
    graph = inlined(model)
    folder.mkdir(parents=True, exist_ok=True)
    names = {str(node.outputs[0].name) for node in ir.traversal.RecursiveGraphIterator(graph.graph)}
    check_names(precision.fp32_nodes, names, "fp32_nodes")
    run(graph, (common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),))
    _Rounding(graph, precision).whole(state_pairs(model.inputs, model.outputs))
    watched = _watch(graph.graph, watch)
    run(graph, (RemoveDeadCode(), StoreWeights(folder)))
    path = folder / "model.onnx"
    onnx.save_model(ir.to_proto(graph), path)
    return OnnxModel(path, model.inputs, (*model.outputs, *watched), digest="")


@contextmanager
def open_emulated(
    model: OnnxModel, precision: Precision, *, buckets: Sequence[Shape], watch: Sequence[str] = ()
) -> Iterator[Session]:
    """An open session that computes ``model`` in ``precision``, in a folder of its own that is removed afterwards.

    Args:
        model: Stays as it is.
        precision: What to compute in.
        buckets: The session takes what fits the largest; see :class:`QEfficient.backends.base.Session`.
        watch: As in :func:`emulated`.

    Raises:
        OptionError, TransformError, CorruptArtefactError: As :func:`emulated`.
        DeviceError: onnxruntime can't load the graph.
    """
    with Cache().work_folder() as folder:
        made = emulated(model, folder, precision, watch=watch)
        graph = GraphFacts(tuple(sorted(buckets)), made.inputs, made.outputs, made.path.name)
        manifest = Manifest(Target("onnxruntime"), {MODEL: graph})
        with OnnxRuntimeSession(Program(folder, manifest), strict=False) as session:
            yield session


def _watch(graph: ir.Graph, names: Sequence[str]) -> tuple[TensorSpec, ...]:
    values = {str(value.name): value for node in graph for value in node.outputs}
    values |= {str(value.name): value for value in graph.inputs}
    check_names(names, values, "watch")
    specs = []
    for name in names:
        value = values[name]
        if value not in graph.outputs:
            graph.outputs.append(value)
            dtype = value.dtype.numpy().name if value.dtype is not None else "float32"
            dims = () if value.shape is None else value.shape
            shape = tuple(dim if isinstance(dim, int) else f"{name}_dim{i}" for i, dim in enumerate(dims))
            specs.append(TensorSpec(name, dtype, shape))
    return tuple(specs)


class _Rounding:
    """One rewrite of one graph, in place."""

    def __init__(self, model: ir.Model, precision: Precision) -> None:
        self.model, self.precision = model, precision
        self.rounded: set[ir.Value] = set()  # these hold fp16 numbers already
        self.copies: dict[tuple[ir.Value, str], ir.Value] = {}  # what fp16 nodes read in a value's place
        self.names = new_values.Names(model)

    def whole(self, states: Mapping[str, str]) -> None:
        """The main graph. ``states``: its state inputs, and the outputs that are their next values."""
        graph = self.model.graph
        if self.precision.half:
            self.rounded.update(value for value in graph.inputs if value.name in states)
        self.graph(graph, fp32_owner=True)
        for value in list(graph.outputs):
            kept = value in self.rounded or not is_float(value)
            if self.precision.half and value.name in states.values() and not kept:
                self._round_in_place(value)

    def graph(self, graph: ir.Graph, *, fp32_owner: bool) -> None:
        """``fp32_owner``: whether inputs arrive, and outputs leave, without being rounded."""
        if not fp32_owner:
            self.rounded.update(graph.inputs)
        for node in list(graph):
            fp32 = node.outputs[0].name in self.precision.fp32_nodes
            for subgraph in weights.graphs_in(node):
                self.graph(subgraph, fp32_owner=fp32)
            if not fp32:
                self._half(node)
        if not fp32_owner:
            for index, value in enumerate(graph.outputs):
                graph.outputs[index] = self._read(value)

    def _half(self, node: ir.Node) -> None:
        """Makes ``node`` read and leave fp16 numbers."""
        for index, value in enumerate(node.inputs):
            if value is not None and _is_float(value, node):
                axis = summed_axis(node, index)
                node.replace_input_with(index, self._read(value, axis))
        if not self.precision.half:
            return
        exact = node.domain == "" and node.op_type in EXACT and "reduction" not in node.attributes
        for value in node.outputs:
            if value.name and _is_float(value, node):
                if exact:
                    self.rounded.add(value)
                else:
                    self._round_in_place(value)

    def _read(self, value: ir.Value, axis: int | None = None) -> ir.Value:
        """What an fp16 node reads where the graph says ``value``; ``axis``: it is a matrix that is summed over it."""
        if value.const_value is not None and value.is_initializer() and not value.is_graph_input():
            return self._stored(value, axis)
        if not self.precision.half or value in self.rounded:
            return value
        if (value, "half") not in self.copies:
            self.copies[value, "half"] = self._casts(value)[1]
        return self.copies[value, "half"]

    def _stored(self, value: ir.Value, axis: int | None) -> ir.Value:
        tensor = value.const_value
        assert tensor is not None and value.graph is not None
        blocks = self.precision.weights if axis is not None and len(tensor.shape) > 1 else None
        if value in self.rounded or not (self.precision.half or blocks):
            return value
        suffix = f"{blocks}{axis}" if blocks else "half"
        if (value, suffix) not in self.copies:
            made = Rounded(tensor, half=self.precision.half, blocks=blocks, axis=axis or -1)
            copy = new_values.initializer(value.graph, made, self.names.new(f"{value.name}/{suffix}"))
            self.copies[value, suffix] = copy
            self.rounded.add(copy)
        return self.copies[value, suffix]

    def _round_in_place(self, value: ir.Value) -> None:
        """Whoever reads ``value`` gets the rounded numbers, and they get its name."""
        name = str(value.name)
        narrow, rounded = self._casts(value)
        value.replace_all_uses_with(rounded, replace_graph_outputs=True)
        narrow.replace_input_with(0, value)
        value.name, rounded.name = self.names.new(f"{name}/full"), name
        self.rounded.add(rounded)

    def _casts(self, value: ir.Value) -> tuple[ir.Node, ir.Value]:
        return casts_behind(value, self.names.new(f"{value.name}/fp16"), self.names.new(f"{value.name}/half"))


def casts_behind(value: ir.Value, half: str, name: str) -> tuple[ir.Node, ir.Value]:
    """Puts two casts, to fp16 and back, behind ``value``.

    Args:
        value: What is rounded.
        half: Name of the number in fp16.
        name: Name of the rounded one.

    Returns:
        The first cast, and the result of the second.
    """
    assert value.graph is not None
    narrow = ir.node("Cast", [value], {"to": ir.DataType.FLOAT16}, outputs=[ir.Value(name=half)])
    rounded = ir.Value(name=name, type=value.type, shape=value.shape)
    widen = ir.node("Cast", narrow.outputs, {"to": value.dtype}, outputs=[rounded])
    new_values.behind(value, value.graph, [narrow, widen])
    return narrow, rounded


def _is_float(value: ir.Value, node: ir.Node) -> bool:
    if value.type is None:
        raise TransformError(
            f"The type of {value.name!r} is not known, so nobody can say whether a card would hold it in fp16.",
            got=f"{node.domain or 'ai.onnx'}.{node.op_type}",
            allowed="operators of ONNX itself, or value_info in the graph",
            do="export the graph with types, or replace this operator",
        )
    return is_float(value)


def summed_axis(node: ir.Node, index: int) -> int | None:
    """The axis that a matrix product sums its operand ``index`` over; ``None`` for what is no operand of one."""
    if node.domain or node.op_type not in PRODUCTS or index > 1:
        return None
    turn = node.attributes.get_int("transB" if index else "transA", 0)
    return -1 if bool(index) == bool(turn) else -2
