"""A graph whose precision is chosen anew at each run, node by node: what makes a search over hundreds of sets fast.

:mod:`QEfficient.numerics.emulate` writes a graph and opens a session for each set of nodes; it streams the weights, and
takes a second for a small model. Here the same rounding stands in the graph as a choice that an input makes, and the
weights are inputs too, so that the next set of nodes costs one run and nothing else. Both give the same numbers; what a
search finds is shown under emulation in the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes import common

from QEfficient.backends.base import Arrays
from QEfficient.backends.host import usable_cpus
from QEfficient.errors import DeviceError
from QEfficient.numerics.check import Array
from QEfficient.numerics.emulate import Precision, casts_behind, summed_axis
from QEfficient.numerics.outline import inlined, is_float
from QEfficient.numerics.rounded import Rounded
from QEfficient.onnx_transforms import run, weights
from QEfficient.records import OnnxModel

FLAGS = "fp32_nodes"  # the input that says of each node whether it computes in fp32
_IGNORED = frozenset({"Shape", "Size"})  # they look at no number


class Bench:
    """A graph opened for many runs in many precisions.

    Args:
        model: The graph.
        precision: What nodes that are not in fp32 compute in; its own ``fp32_nodes`` are not looked at.
    """

    def __init__(self, model: OnnxModel, precision: Precision) -> None:
        graph = inlined(model)
        run(graph, (common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),))
        self._outputs = [spec.name for spec in model.outputs]
        self._switches = _Switches(graph, precision)
        self._others = {name: ort_value(tensor.numpy()) for name, tensor in feed_weights(graph).items()}
        self._session = open_bare(graph)
        self._stored: dict[tuple[str, bool], Any] = {}

    @property
    def nodes(self) -> tuple[str, ...]:
        """First output names of the nodes that can be put into fp32, those of inner graphs too, in graph order."""
        return tuple(self._switches.flags)

    def run(self, arrays: Mapping[str, Array], fp32_nodes: frozenset[str]) -> Arrays:
        """The graph's outputs with these nodes in fp32."""
        feeds = {name: ort_value(array) for name, array in arrays.items()}
        feeds[FLAGS] = ort_value(np.array([name in fp32_nodes for name in self._switches.flags]))
        for weight in self._switches.weights:
            feeds[weight.name] = self._weight(weight, weight.node in fp32_nodes)
        feeds |= self._others
        return run_bare(self._session, self._outputs, feeds)

    def _weight(self, weight: _Weight, fp32: bool) -> Any:
        """Made when it is first asked for; what is on disk is mapped, not read."""
        key = (f"{weight.tensor.name}/{weight.axis}", fp32)
        if key not in self._stored:
            self._stored[key] = ort_value((weight.tensor if fp32 else weight.rounded).numpy())
        return self._stored[key]


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight as one node reads it: the input that takes it, and its numbers in both precisions."""

    name: str
    node: str
    axis: int | None
    tensor: ir.TensorProtocol
    rounded: ir.TensorProtocol


class _Switches:
    """Puts a choice between a value and its rounding in front of every reader. The graph is changed in place.

    A reader sees the value as it is where its maker and itself compute in fp32, and else rounded: what an fp16 node
    made is rounded, and an fp16 node rounds what it reads.
    """

    def __init__(self, model: ir.Model, precision: Precision) -> None:
        self.graph, self.precision = model.graph, precision
        self.flags: dict[str, ir.Value] = {}
        self.weights: list[_Weight] = []
        self._inputs: dict[tuple[ir.Value, str], ir.Value] = {}
        self._rounded: dict[ir.Value, ir.Value] = {}
        self._both: dict[tuple[str, str], ir.Value] = {}
        self._flags = ir.Value(name=FLAGS, shape=ir.Shape(["nodes"]), type=ir.TensorType(ir.DataType.BOOL))
        nodes = [node for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.op_type not in _IGNORED]
        self._first = model.graph[0]
        for node in nodes:
            self._node(node)
        for index, value in enumerate(model.graph.outputs):
            maker = value.producer()
            if is_float(value) and maker is not None and _name(maker) in self.flags:
                model.graph.outputs[index] = self._output(value, self.flags[_name(maker)])
        model.graph.inputs.append(self._flags)

    def _node(self, node: ir.Node) -> None:
        floats = [(i, value) for i, value in enumerate(node.inputs) if value is not None and is_float(value)]
        if not floats and not any(is_float(value) for value in node.outputs):
            return
        flag = self._flag(_name(node))
        read: dict[ir.Value, ir.Value] = {}
        for index, value in floats:
            if weights.constant(value) is not None:
                node.replace_input_with(index, self._stored(node, index, value))
                continue
            if value not in read:
                read[value] = self._read(node, value, flag)
            node.replace_input_with(index, read[value])

    def _flag(self, name: str) -> ir.Value:
        if name not in self.flags:
            place = _tensor(np.array(len(self.flags)), f"{name}/place")
            self.graph.register_initializer(place)
            self.flags[name] = self._add("Gather", [self._flags, place], f"{name}/fp32", ir.DataType.BOOL)
        return self.flags[name]

    def _stored(self, node: ir.Node, index: int, value: ir.Value) -> ir.Value:
        """An input of the graph that takes the weight as ``node`` reads it."""
        tensor, axis = weights.constant(value), summed_axis(node, index)
        assert tensor is not None
        blocks = self.precision.weights if axis is not None and len(tensor.shape) > 1 else None
        axis = axis if blocks else None
        key = (value, f"{_name(node)}/{axis}")
        if key not in self._inputs:
            made = ir.Value(name=f"{value.name}/{len(self.weights)}", shape=value.shape, type=value.type)
            rounded = Rounded(tensor, half=self.precision.half, blocks=blocks, axis=axis or -1)
            self.weights.append(_Weight(str(made.name), _name(node), axis, tensor, rounded))
            self.graph.inputs.append(made)
            self._inputs[key] = made
        return self._inputs[key]

    def _read(self, node: ir.Node, value: ir.Value, flag: ir.Value) -> ir.Value:
        """``value`` as ``node`` reads it."""
        if not self.precision.half:
            return value
        maker = value.producer()
        both = flag
        if maker is not None and _name(maker) in self.flags:
            key = (_name(maker), _name(node))
            if key not in self._both:
                inputs = [self.flags[key[0]], flag]
                self._both[key] = self._add("And", inputs, f"{key[0]}/{key[1]}/both", ir.DataType.BOOL)
            both = self._both[key]
        return _before(node, "Where", [both, value, self._round(value)], f"{value.name}/{_name(node)}")

    def _output(self, value: ir.Value, flag: ir.Value) -> ir.Value:
        name = str(value.name)
        value.name = f"{name}/own"
        chosen = ir.Value(name=name, type=value.type, shape=value.shape)
        self.graph.append(ir.node("Where", [flag, value, self._round(value)], outputs=[chosen]))
        return chosen

    def _round(self, value: ir.Value) -> ir.Value:
        if value not in self._rounded:
            self._rounded[value] = casts_behind(value, f"{value.name}/16", f"{value.name}/rounded")[1]
        return self._rounded[value]

    def _add(self, kind: str, inputs: Sequence[ir.Value], name: str, dtype: ir.DataType) -> ir.Value:
        """A new node at the graph's start: it reads flags only."""
        made = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([]))
        self.graph.insert_before(self._first, ir.node(kind, inputs, outputs=[made]))
        return made


def _before(node: ir.Node, kind: str, inputs: Sequence[ir.Value], name: str) -> ir.Value:
    made = ir.Value(name=name, type=inputs[-1].type, shape=inputs[-1].shape)
    assert node.graph is not None
    node.graph.insert_before(node, ir.node(kind, inputs, outputs=[made]))
    return made


def _name(node: ir.Node) -> str:
    return str(node.outputs[0].name)


def _tensor(array: Array, name: str) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    shape = ir.Shape(tensor.shape.numpy())
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)


# ---------------------------------------------------------------------------------------------- onnxruntime, bare


def feed_weights(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Makes inputs of the main graph's weights on disk, and drops those that nobody reads.

    Returns:
        Input name → what it takes.
    """
    fed: dict[str, ir.TensorProtocol] = {}
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if not (value.uses() or value.is_graph_output()):
            del model.graph.initializers[name]
        elif isinstance(tensor, ir.ExternalTensor) and not value.is_graph_output():
            del model.graph.initializers[name]
            value.const_value = None
            model.graph.inputs.append(value)
            fed[name] = tensor
    return fed


def open_bare(graph: ir.Model) -> Any:
    """An ``InferenceSession`` of a graph in memory, without the rewrites that merge casts or copy weights."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = usable_cpus()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # runs are short, and so are pauses
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    proto = ir.to_proto(graph)
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_bare(session: Any, outputs: Sequence[str], feeds: Mapping[str, Any]) -> Arrays:
    """Named outputs of a session from :func:`open_bare`.

    Raises:
        DeviceError: onnxruntime fails.
    """
    try:
        results = session.run_with_ort_values(list(outputs), dict(feeds))
    except Exception as error:  # onnxruntime's exceptions have no common class below Exception
        raise DeviceError(
            "onnxruntime failed to run the graph.",
            status=str(error),
            allowed="inputs that the graph itself takes",
            do="run the same inputs with generate()",
        ) from error
    return {name: value.numpy() for name, value in zip(outputs, results, strict=True)}


def ort_value(array: Array) -> Any:
    """An array as onnxruntime takes it, without a copy where it lies in one piece."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
