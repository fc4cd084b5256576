"""A graph's layers in int8: onnxruntime's quantiser writes them, with static scales from calibration on text.

Every number of the result is a pure function of its row: an activation has one scale, known beforehand, and a weight
has one for each of its columns.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from QEfficient.compress.calibrate import Range
from QEfficient.compress.layers import Layer
from QEfficient.onnx_transforms import read
from QEfficient.records import OnnxModel

ALPHA = 0.75
"""Migration strength: how much of a channel's size goes from the activation to the weights (SmoothQuant, 2023)."""

HEADROOM = 1.2
"""An activation's range over that of the calibration texts: others go a little further, and are clipped there."""

DATA = "int8.onnx.data"


@dataclass(frozen=True, slots=True)
class Quantised:
    """A graph with every layer in int8, from which those with some left out are made.

    Attributes:
        plain: The graph in fp32, without its weights.
        full: The graph with every layer in int8, its weights outside.
        layers: The layers.
    """

    plain: onnx.ModelProto
    full: onnx.ModelProto
    layers: tuple[Layer, ...]

    def without(self, left_out: Collection[int]) -> onnx.ModelProto:
        """The graph with these layers as they were. What nobody reads any more is still in it."""
        made = onnx.ModelProto()
        made.CopyFrom(self.full)
        nodes = {node.output[0]: node for node in made.graph.node}
        there = {tensor.name for tensor in made.graph.initializer}
        plain = {tensor.name: tensor for tensor in self.plain.graph.initializer}
        for layer in (self.layers[index] for index in left_out):
            for name, weight in zip(layer.nodes, layer.weights, strict=True):
                nodes[name].input[:] = [layer.tensor, weight]
                if weight not in there:
                    made.graph.initializer.append(plain[weight])
                    there.add(weight)
        return made


def quantise(model: OnnxModel, layers: Sequence[Layer], ranges: Mapping[str, Range], folder: Path) -> Quantised:
    """Quantises every layer, one after the other: the weights of one are in memory at a time.

    Args:
        model: The graph in fp32; it stands in ``folder``.
        layers: What to quantise.
        ranges: Of what the layers read.
        folder: Where the int8 weights are written.
    """
    plain = onnx.load_model(model.path, load_external_data=False)
    full = onnx.ModelProto()
    full.CopyFrom(plain)
    stored = read(model.path).graph.initializers
    for layer in layers:
        name = f"{layer.tensor}/int8"
        weights = [_values(stored[weight]) for weight in layer.weights]
        factor = _factor(ranges[layer.tensor], weights)
        observed = np.min(ranges[layer.tensor].low / factor), np.max(ranges[layer.tensor].high / factor)
        alone = _layer_graph(layer, name, [weight * factor[:, None] for weight in weights], full.opset_import)
        full.graph.initializer.append(numpy_helper.from_array(1 / factor, f"{name}/factor"))
        multiply = helper.make_node("Mul", [layer.tensor, f"{name}/factor"], [name], name=name)
        _insert(full.graph, layer, multiply, _quantised(alone, name, observed).graph)
    onnx.save_model(full, folder / "int8.onnx", save_as_external_data=True, location=DATA, size_threshold=1024)
    return Quantised(plain, onnx.load_model(folder / "int8.onnx", load_external_data=False), tuple(layers))


def _factor(found: Range, weights: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """SmoothQuant's factor: what a channel of a layer's input is divided by, and its weights are multiplied by."""
    largest = np.max([np.abs(weight).max(1) for weight in weights], axis=0)
    factor = _floored(found.size) ** ALPHA / _floored(largest) ** (1 - ALPHA)
    return np.asarray(factor / np.exp(np.log(factor).mean()), np.float32)


def _layer_graph(
    layer: Layer, name: str, weights: Sequence[NDArray[np.float32]], opsets: Sequence[onnx.OperatorSetIdProto]
) -> onnx.ModelProto:
    """A graph of one layer, so that the quantiser sees nothing else of the model."""
    kind, (channels, _) = onnx.TensorProto.FLOAT, weights[0].shape
    names = [f"{output}/smooth" for output in layer.nodes]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [name, weight], [output], name=output)
            for weight, output in zip(names, layer.nodes, strict=True)
        ],
        "layer",
        [helper.make_tensor_value_info(name, kind, ["rows", channels])],
        [
            helper.make_tensor_value_info(output, kind, ["rows", weight.shape[1]])
            for output, weight in zip(layer.nodes, weights, strict=True)
        ],
        [numpy_helper.from_array(weight, each) for each, weight in zip(names, weights, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[each for each in opsets if not each.domain])


def _quantised(alone: onnx.ModelProto, name: str, observed: tuple[np.float32, np.float32]) -> onnx.ModelProto:
    low, high = (np.float32(HEADROOM) * end for end in observed)
    with _quiet():
        quantiser = QDQQuantizer(
            alone,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,  # unsigned × signed is what a CPU multiplies fastest
            tensors_range=TensorsData(CalibrationMethod.MinMax, {name: (low, high)}),
            nodes_to_quantize=[],
            nodes_to_exclude=[],
            op_types_to_quantize=["MatMul"],
            extra_options={
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
                "WeightSymmetric": True,
            },
        )
        quantiser.quantize_model()
    return cast(onnx.ModelProto, quantiser.model.model)


def _insert(graph: onnx.GraphProto, layer: Layer, multiply: onnx.NodeProto, made: onnx.GraphProto) -> None:
    """Puts a quantised layer into the model. What else reads the layer's input gets the exact numbers as before."""
    products = {node.output[0]: node for node in made.node if node.op_type == "MatMul"}
    before = [multiply, *(node for node in made.node if node.op_type != "MatMul")]
    first = next(place for place, node in enumerate(graph.node) if node.output[0] in layer.nodes)
    for node in graph.node:
        if node.output[0] in products:
            node.input[:] = products[node.output[0]].input
    for place, node in enumerate(before):
        graph.node.insert(first + place, node)
    graph.initializer.extend(made.initializer)


def _values(weight: ir.Value) -> NDArray[np.float32]:
    assert weight.const_value is not None  # a layer's weights are initializers
    return weight.const_value.numpy()


def _floored(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The median for what is below it: that a channel was small in these texts says little about the next ones."""
    exact = values.astype(np.float64)
    return np.maximum(exact, max(float(np.median(exact)), 1e-5 * float(np.max(exact)), 1e-12))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the quantiser logs of each node it skips: it logs to the root logger, in this thread."""
    root, thread = logging.getLogger(), threading.get_ident()

    def is_others(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno >= logging.ERROR

    root.addFilter(is_others)
    try:
        yield
    finally:
        root.removeFilter(is_others)
