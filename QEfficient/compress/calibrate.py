"""Which values the inputs of the layers take: one run of the graph over text, with the ranges as further outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from QEfficient.compress.graph import opened
from QEfficient.compress.layers import Layer
from QEfficient.numerics.outline import one_row
from QEfficient.numerics.verify import Sample
from QEfficient.records import OnnxModel, TensorSpec

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the largest value of each channel of a tensor, its last dim."""

    low: Floats
    high: Floats

    @property
    def size(self) -> Floats:
        """The largest absolute value of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


def calibrate(
    model: OnnxModel,
    layers: Sequence[Layer],
    samples: Sequence[Sample],
    folder: Path,
    progress: Callable[[int], None] | None = None,
) -> Mapping[str, Range]:
    """The range of each layer's input.

    Rows run one by one: what stands at padding is nobody's number, and would widen a range.

    Args:
        model: The graph in fp32.
        layers: Whose inputs to look at.
        samples: Texts.
        folder: Where the graph with more outputs is written. It holds the model's files already.
        progress: Called after each row.
    """
    proto = onnx.load_model(model.path, load_external_data=False)
    outputs = tuple(spec for layer in layers for spec in _watch(proto.graph, layer))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "range/rows"))
    found: dict[str, Floats] = {}
    with opened(proto, folder / "ranges.onnx", model.inputs, outputs) as session:
        for sample in samples:
            for row in range(len(sample.names)):
                for name, value in session.run(one_row(sample.inputs, row)).items():
                    better = np.minimum if name.endswith("/low") else np.maximum
                    found[name] = better(found[name], value) if name in found else value.astype(np.float32)
                if progress is not None:
                    progress(1)
    return {each.tensor: Range(found[f"{each.tensor}/low"], found[f"{each.tensor}/high"]) for each in layers}


def _watch(graph: onnx.GraphProto, layer: Layer) -> list[TensorSpec]:
    """Adds the ranges of a layer's input to the graph's outputs."""
    flat, channels = f"{layer.tensor}/flat", next(t for t in graph.initializer if t.name == layer.weights[0]).dims[0]
    graph.node.append(helper.make_node("Flatten", [layer.tensor], [flat], axis=-1))
    specs = []
    for operator, name in (("ReduceMin", f"{layer.tensor}/low"), ("ReduceMax", f"{layer.tensor}/high")):
        graph.node.append(helper.make_node(operator, [flat, "range/rows"], [name], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [channels]))
        specs.append(TensorSpec(name, "float32", (channels,)))
    return specs
