"""How much memory a graph needs: activations that live together, and weights at each precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from QEfficient.analysis.record import PeakMemory, WeightBytes
from QEfficient.numerics.formats import BLOCK
from QEfficient.numerics.steps import VIEWS, Step, Tensor, Walk
from QEfficient.onnx_transforms import weights

_THROUGH = VIEWS | {"Transpose", "Cast", "DequantizeLinear"}
_SCALING = frozenset({"QuantizeLinear", "DequantizeLinear"})
_MATMUL = frozenset({"MatMul", "Gemm", "Einsum"})
_CONVOLUTION = frozenset({"Conv", "ConvTranspose"})


# ------------------------------------------------------------------------------------------------ activations


def peak_memory(walk: Walk) -> PeakMemory:
    """The most bytes of activations that live at the same time.

    Nodes run one after the other. A tensor lives from the node that writes it to the last one that reads it, graph
    inputs from the start, graph outputs to the end; a tensor under another shape takes no memory of its own, and what
    is known before the run takes none. A compiler that orders or fuses nodes otherwise needs less.
    """
    steps = walk.steps
    last = _last_uses(steps, walk.outputs)
    peaks = [_peak(walk, last, float_bytes) for float_bytes in (4, 2)]
    where = steps[peaks[0][1]] if steps else None
    return PeakMemory(peaks[0][0], peaks[1][0], where.name if where else "", where.module if where else "")


def _root(tensor: Tensor) -> Tensor:
    return tensor.source or tensor


def _last_uses(steps: Sequence[Step], outputs: Sequence[Tensor]) -> dict[Tensor, int]:
    last: dict[Tensor, int] = {}
    for place, step in enumerate(steps):
        for tensor in (*step.inputs, *step.outputs):
            if tensor is not None:
                last[_root(tensor)] = place
    return last | {_root(tensor): len(steps) for tensor in outputs}


def _peak(walk: Walk, last: Mapping[Tensor, int], float_bytes: int) -> tuple[int, int]:
    """Peak in bytes, and the step where it is."""
    ending: dict[int, list[Tensor]] = {}
    for tensor, place in last.items():
        ending.setdefault(place, []).append(tensor)
    alive = {tensor for tensor in walk.inputs if tensor in last}
    now = sum(tensor.bytes(float_bytes) for tensor in alive)
    most, where = now, 0
    for place, step in enumerate(walk.steps):
        for tensor in step.outputs:
            if tensor.source is None and tensor.value is None and tensor not in alive:
                alive.add(tensor)
                now += tensor.bytes(float_bytes)
        if now > most:
            most, where = now, place
        for tensor in ending.get(place, ()):
            if tensor in alive:
                alive.remove(tensor)
                now -= tensor.bytes(float_bytes)
    return most, where


# ------------------------------------------------------------------------------------------------ weights


@dataclass(frozen=True, slots=True)
class Weight:
    """One constant of a graph.

    Attributes:
        name: As in the graph.
        module: Path of the torch module that uses it first.
        dtype: Its type; of codes of 8 or 4 bits, that of the numbers that they stand for.
        shape: Its shape.
        matmul, convolution: Whether a matrix product or a convolution reads it, transposed or cast perhaps.
        elsewhere: Whether anything else reads it too.
    """

    name: str
    module: str
    dtype: ir.DataType
    shape: tuple[int, ...]
    matmul: bool
    convolution: bool
    elsewhere: bool

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        """Whether it is a parameter, and no index or mask."""
        return self.dtype.is_floating_point()


def weights_of(model: ir.Model) -> tuple[Weight, ...]:
    """Every constant of a graph, its subgraphs and its functions, each once, in graph order; no steps and zeros."""
    return tuple(_weight(value, tensor, model) for value, tensor in constants(model) if not _scales(value))


def weight_bytes(held: Sequence[Weight]) -> WeightBytes:
    """Bytes of all weights in each form that a card stores them in. Integers keep their own type."""
    fixed = sum(math.ceil(one.elements * one.dtype.bitwidth / 8) for one in held if not one.floating)
    floats = [one for one in held if one.floating]
    return WeightBytes(
        fp32=fixed + sum(4 * one.elements for one in floats),
        fp16=fixed + sum(2 * one.elements for one in floats),
        mxfp6=fixed + sum(_narrow(one, one.matmul, _mxfp6(one.elements)) for one in floats),
        int8=fixed + sum(_narrow(one, one.matmul or one.convolution, one.elements) for one in floats),
        matmul_parameters=sum(one.elements for one in floats if one.matmul and len(one.shape) > 1),
    )


def _mxfp6(elements: int) -> int:
    return math.ceil(elements * 6 / 8) + math.ceil(elements / BLOCK)


def _narrow(weight: Weight, fits: bool, size: int) -> int:
    """A matrix in ``size`` bytes; whatever reads it otherwise needs its fp16 numbers as well."""
    if not fits or len(weight.shape) < 2:
        return 2 * weight.elements
    return size + (2 * weight.elements if weight.elsewhere else 0)


def constants(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """Every constant of a graph, its subgraphs and its functions, with the value that it is."""
    for graph in weights.graphs(model):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value
    for node in weights.nodes(model):
        if node.op_type == "Constant" and node.domain == "":
            tensor = ir.convenience.get_const_tensor(node.outputs[0])
            if tensor is not None:
                yield node.outputs[0], tensor


def _weight(value: ir.Value, tensor: ir.TensorProtocol, model: ir.Model) -> Weight:
    readers = {one.op_type if one.domain == "" else one.domain for one in _readers(value, model)}
    codes = len(tensor.shape) > 1 and tensor.dtype.is_integer() and tensor.dtype.bitwidth <= 8
    return Weight(
        name=str(value.name),
        module=weights.module_path(value),
        dtype=ir.DataType.FLOAT if codes else tensor.dtype,
        shape=tuple(tensor.shape.numpy()),
        matmul=bool(readers & _MATMUL),
        convolution=bool(readers & _CONVOLUTION),
        elsewhere=bool(readers - _MATMUL - _CONVOLUTION),
    )


def _scales(value: ir.Value) -> bool:
    """Whether a constant is nothing but the step or the zero of codes."""
    uses = value.uses()
    return bool(uses) and all(node.domain == "" and node.op_type in _SCALING and place > 0 for node, place in uses)


def _readers(value: ir.Value, model: ir.Model) -> Iterator[ir.Node]:
    """The nodes that compute with a weight: behind transposes and casts, and inside the functions that take it."""
    for node, place in value.uses():
        function = model.functions.get(node.op_identifier())
        if function is not None:
            yield from _readers(function.inputs[place], model)
        elif node.domain == "" and node.op_type in _THROUGH and place == 0:
            yield from _readers(node.outputs[0], model)
        else:
            yield node
