"""The range of every floating-point tensor of a graph, measured on real inputs in fp32."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.numerics.bench import feed_weights, open_bare, ort_value, run_bare
from QEfficient.numerics.outline import NodeInfo, inlined, is_float, outline
from QEfficient.numerics.verify import Sample
from QEfficient.onnx_transforms import new_values, weights
from QEfficient.records import OnnxModel

INFINITE = 65520.0
"""From here on fp16 rounds to Inf: the middle between its largest number and the next that would follow."""
OUTLIER = 32.0  # times the median channel's largest magnitude: from here on a channel is an outlier


@dataclass(frozen=True, slots=True)
class TensorRange:
    """What was met in one tensor.

    Attributes:
        name: Its name in the graph.
        node: First output name of the node that makes it; ``""`` for a weight.
        op: That node's operator; ``""`` for a weight.
        module: Path of that node's torch module, for a weight of the first that reads it; ``""`` where unknown.
        largest: Largest magnitude.
        smallest: Smallest magnitude but 0; Inf where all are 0.
        lost: Norm of what rounding to fp16 takes off ÷ norm of the tensor; 0.0003 is usual, Inf where it overflows.
        row: The row with the largest magnitude, as its sample names it; ``""`` for a tensor without rows.
        channel: Index along the last dim of the outlier channel, :data:`OUTLIER` times the median; ``None``: no such.
    """

    name: str
    node: str
    op: str
    module: str
    largest: float
    smallest: float
    lost: float
    row: str = ""
    channel: int | None = None

    @property
    def overflows(self) -> bool:
        """Whether it is infinite in fp16."""
        return not self.largest < INFINITE


def ranges(model: OnnxModel, samples: Sequence[Sample]) -> tuple[TensorRange, ...]:
    """Runs ``samples`` in fp32 and measures every floating-point value and weight of the main graph.

    What is measured is reduced inside the graph, so that memory stays that of a plain run.

    Args:
        model: The graph; functions are inlined.
        samples: At least one batch.

    Returns:
        Values in the order in which they are computed, then weights.
    """
    graph = inlined(model)
    nodes = outline(graph)
    found = {r.name: r for r in _weights(graph.graph, nodes)}
    probes = _Probes(graph)
    feeds = {name: ort_value(tensor.numpy()) for name, tensor in feed_weights(graph).items()}
    session = open_bare(graph)
    makers = {name: node for node in nodes for name in node.outputs}
    values: dict[str, TensorRange] = {}
    for sample in samples:
        arrays = feeds | {name: ort_value(array) for name, array in sample.inputs.items()}
        results = run_bare(session, probes.outputs, arrays)
        for name, maker in makers.items():
            met = probes.read(name, results, sample, maker)
            values[name] = _join(values[name], met) if name in values else met
    return (*values.values(), *found.values())


def _join(first: TensorRange, second: TensorRange) -> TensorRange:
    more, less = (first, second) if first.largest >= second.largest else (second, first)
    return replace(more, smallest=min(first.smallest, second.smallest), lost=max(first.lost, second.lost))


class _Probes:
    """Reductions of every float value, as further outputs of a graph."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.outputs: list[str] = []
        self._constants = {
            name: new_values.initializer(model.graph, array, f"/probe/{name}")
            for name, array in {
                "first": np.array([0]),
                "second": np.array([1]),
                "table": np.array([1, -1]),
                "none": np.array(0, np.float32),
                "infinite": np.array(np.inf, np.float32),
            }.items()
        }
        for node in list(model.graph):
            for value in node.outputs:
                if value.name and is_float(value) and node.op_type != "Constant":
                    self._measure(value)

    def _measure(self, value: ir.Value) -> None:
        name, known = str(value.name), self._constants
        flat = value.shape is None or len(value.shape) == 0
        if value.dtype != ir.DataType.FLOAT:
            value = self._add("Cast", [value], f"{name}/float", to=ir.DataType.FLOAT)
        size = self._add("Abs", [value], f"{name}/size")
        if flat:
            table = self._add("Reshape", [size, known["table"]], f"{name}/t")
        else:
            table = self._add("Flatten", [size], f"{name}/t", axis=-1)
        self._output("ReduceMax", [table, known["first"]], f"{name}/channels")
        if not flat:
            rows = self._add("Flatten", [size], f"{name}/r", axis=min(1, len(value.shape or ())))
            self._output("ReduceMax", [rows, known["second"]], f"{name}/rows")
        zero = self._add("Equal", [size, known["none"]], f"{name}/zero")
        some = self._add("Where", [zero, known["infinite"], size], f"{name}/some")
        self._output("ReduceMin", [some], f"{name}/smallest")
        narrow = self._add("Cast", [value], f"{name}/16", to=ir.DataType.FLOAT16)
        rounded = self._add("Cast", [narrow], f"{name}/rounded", to=ir.DataType.FLOAT)
        self._output("ReduceL2", [self._add("Sub", [value, rounded], f"{name}/off")], f"{name}/lost")
        self._output("ReduceL2", [value], f"{name}/norm")

    def _add(self, kind: str, inputs: Sequence[ir.Value], name: str, **attributes: int) -> ir.Value:
        made = ir.Value(name=name)
        self.graph.append(ir.node(kind, inputs, attributes, outputs=[made]))
        return made

    def _output(self, kind: str, inputs: Sequence[ir.Value], name: str) -> None:
        self.graph.outputs.append(self._add(kind, inputs, name, keepdims=0))
        self.outputs.append(name)

    def read(self, name: str, results: Arrays, sample: Sample, maker: NodeInfo) -> TensorRange:
        """What one run met in the value ``name``."""
        channels = np.asarray(results[f"{name}/channels"], np.float64)
        largest, norm = float(np.max(channels, initial=0.0)), float(results[f"{name}/norm"])
        lost = float(results[f"{name}/lost"]) / norm if 0 < norm < np.inf else 0.0
        rows = results.get(f"{name}/rows")
        row = sample.names[int(np.argmax(rows))] if rows is not None and len(rows) == len(sample.names) else ""
        return TensorRange(
            name=name,
            node=maker.name,
            op=maker.op,
            module=maker.module,
            largest=largest,
            smallest=float(results[f"{name}/smallest"]),
            lost=math.inf if not largest < INFINITE else lost,
            row=row,
            channel=_outlier(channels),
        )


def _outlier(channels: NDArray[np.float64]) -> int | None:
    if channels.size < 8 or not np.isfinite(channels).all():
        return None
    place = int(np.argmax(channels))
    return place if channels[place] > OUTLIER * np.median(channels) > 0 else None


def _weights(graph: ir.Graph, nodes: Sequence[NodeInfo]) -> Iterator[TensorRange]:
    """The floating-point constants that nodes read, in pieces."""
    readers: dict[str, NodeInfo] = {}
    for node in nodes:
        for name in node.constants:
            readers.setdefault(name, node)
    values = {str(value.name): value for node in graph for value in node.inputs if value is not None}
    for name, reader in readers.items():
        tensor = weights.constant(values.get(name))
        if tensor is None or not tensor.size:
            continue
        yield TensorRange(name, "", "", reader.module, *weight_range(tensor))


def weight_range(tensor: ir.TensorProtocol, exponent: int = 0) -> tuple[float, float, float]:
    """Largest, smallest and lost, as in :class:`TensorRange`, of a weight that is multiplied by 2^``exponent``."""
    largest, smallest, off, norm = 0.0, math.inf, 0.0, 0.0
    for piece in weights.blocks(tensor):
        numbers = np.ldexp(piece, exponent)
        with np.errstate(over="ignore", invalid="ignore"):
            off += float(np.square(numbers - numbers.astype(np.float16)).sum(dtype=np.float64))
            norm += float(np.square(numbers).sum(dtype=np.float64))
        sizes = np.abs(numbers, out=numbers)
        largest = max(largest, float(sizes.max()))
        smallest = min(smallest, float(sizes[sizes > 0].min(initial=math.inf)))
    return largest, smallest, math.inf if largest >= INFINITE else math.sqrt(off / norm) if norm else 0.0
