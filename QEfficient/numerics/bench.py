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
from QEfficient.numerics.emulate import casts_behind
from QEfficient.numerics.outline import SHAPES_ONLY, inlined, is_float
from QEfficient.numerics.rounded import Rounded
from QEfficient.onnx_transforms import new_values, run, weights
from QEfficient.records import OnnxModel

FLAGS = "fp32_nodes"  # the input that says of each node whether it computes in fp32


class Bench:
    """A graph opened for many runs, with other nodes in fp32 in each; the rest computes in fp16.

    Args:
        model: The graph.
    """

    def __init__(self, model: OnnxModel) -> None:
        graph = inlined(model)
        run(graph, (common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),))
        self._outputs = [spec.name for spec in model.outputs]
        self._switches = _Switches(graph)
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
        for weight in self._switches.weights.values():
            feeds[str(weight.taken.name)] = self._weight(weight, weight.node in fp32_nodes)
        feeds |= self._others
        return run_bare(self._session, self._outputs, feeds)

    def _weight(self, weight: _Weight, fp32: bool) -> Any:
        """Made when it is first asked for; what is on disk is mapped, not read."""
        key = (str(weight.tensor.name), fp32)
        if key not in self._stored:
            self._stored[key] = ort_value((weight.tensor if fp32 else Rounded(weight.tensor, half=True)).numpy())
        return self._stored[key]


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight as one node reads it: the input that takes it, and its numbers."""

    taken: ir.Value
    node: str
    tensor: ir.TensorProtocol


class _Switches:
    """Puts a choice between a value and its rounding in front of every reader. The graph is changed in place.

    A reader sees the value as it is where its maker and itself compute in fp32, and else rounded: what an fp16 node
    made is rounded, and an fp16 node rounds what it reads.
    """

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.flags: dict[str, ir.Value] = {}
        self.weights: dict[tuple[ir.Value, str], _Weight] = {}
        self._rounded: dict[ir.Value, ir.Value] = {}
        self._both: dict[tuple[str, str], ir.Value] = {}
        self._flags = ir.Value(name=FLAGS, shape=ir.Shape(["nodes"]), type=ir.TensorType(ir.DataType.BOOL))
        nodes = [node for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.op_type not in SHAPES_ONLY]
        self._first = model.graph[0]  # what reads flags only stands before it
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
                node.replace_input_with(index, self._stored(node, value))
                continue
            if value not in read:
                read[value] = self._read(node, value, flag)
            node.replace_input_with(index, read[value])

    def _flag(self, name: str) -> ir.Value:
        if name not in self.flags:
            place = new_values.initializer(self.graph, np.array(len(self.flags)), f"{name}/place")
            self.flags[name] = new_values.insert(self._first, "Gather", [self._flags, place], f"{name}/fp32")
        return self.flags[name]

    def _stored(self, node: ir.Node, value: ir.Value) -> ir.Value:
        """An input of the graph that takes the weight as ``node`` reads it."""
        tensor, key = weights.constant(value), (value, _name(node))
        assert tensor is not None
        if key not in self.weights:
            made = ir.Value(name=f"{value.name}/{len(self.weights)}", shape=value.shape, type=value.type)
            self.weights[key] = _Weight(made, _name(node), tensor)
            self.graph.inputs.append(made)
        return self.weights[key].taken

    def _read(self, node: ir.Node, value: ir.Value, flag: ir.Value) -> ir.Value:
        """``value`` as ``node`` reads it."""
        maker = value.producer()
        both = flag
        if maker is not None and _name(maker) in self.flags:
            key = (_name(maker), _name(node))
            if key not in self._both:
                inputs = [self.flags[key[0]], flag]
                self._both[key] = new_values.insert(self._first, "And", inputs, f"{key[0]}/{key[1]}/both")
            both = self._both[key]
        inputs = [both, value, self._round(value)]
        return new_values.insert(node, "Where", inputs, f"{value.name}/{_name(node)}", like=value)

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


def _name(node: ir.Node) -> str:
    return str(node.outputs[0].name)


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
