"""What each node costs at a bucket: FLOPs, vector operations, bytes.

FLOPs follow ``torch.utils.flop_counter``: 2·m·n·k for a matrix product, its bias not counted; for a convolution 2 ·
outputs · input channels of a group · kernel. Vector operations count one for each element that an operator computes;
softmax is five (maximum, difference, exponential, sum, quotient), a layer norm seven (mean, difference, square, mean,
scale to unit variance, weight, bias).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from QEfficient.numerics.measured_shapes import measured_shapes
from QEfficient.numerics.steps import VIEWS, Step, Tensor, Walk
from QEfficient.numerics.walk import walk
from QEfficient.records import OnnxModel, Shape

MOVES = VIEWS | frozenset(
    "Transpose Concat Split Slice Gather GatherElements GatherND ScatterElements ScatterND Scatter Expand Tile Pad "
    "Shape Size Constant ConstantOfShape DepthToSpace SpaceToDepth ReverseSequence Range EyeLike CenterCropPad "
    "SplitToSequence SequenceAt SequenceConstruct ConcatFromSequence Dropout".split()
)
"""Operators that only move data, or make it of nothing."""

READS_PART = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "Split"})
"""Operators that read of their first input only what they write."""

_PER_ELEMENT = {"Softmax": 5, "LogSoftmax": 5, "LayerNormalization": 7, "BatchNormalization": 2}
_PER_ELEMENT |= {"GroupNormalization": 7, "InstanceNormalization": 7, "RMSNormalization": 4}
_BY_INPUT = ("Reduce", "ArgM", "Global", "CumSum", "TopK")  # these compute once an element that they read
_NO_FORMULA = frozenset({"DFT", "STFT", "DeformConv", "Attention", "GridSample", "RoiAlign", "MaxUnpool"})


@dataclass(frozen=True, slots=True)
class NodeCost:
    """What one node costs at a bucket, in all of its runs. A node of a function stands here once a call.

    Attributes:
        name: Name of its first output; unique in the main graph, and repeated for a function's nodes.
        op: Operator, with its domain where that is not the standard one.
        module: Path of the torch module.
        flops: 2·m·n·k for matrix products and convolutions, else 0.
        vector_ops: Other arithmetic, in operations on one element.
        bytes_in, bytes_out: Activations read and written, in bytes of the graph's own types. Nodes that only give a
            tensor another shape move nothing.
        weight_bytes: Weights read, in bytes of the graph's own types; of a table only the rows that are looked up.
        output_shape: Shape of the first output.
        runs: How often it runs.
    """

    name: str
    op: str
    module: str
    flops: int
    vector_ops: int
    bytes_in: int
    bytes_out: int
    weight_bytes: int
    output_shape: tuple[int, ...]
    runs: int = 1


def node_costs(model: OnnxModel, bucket: Shape) -> tuple[NodeCost, ...]:
    """The cost of every node of ``model`` at ``bucket``, in the order of running.

    Args:
        model: The graph on disk; its weights are not read.
        bucket: Sizes of the free dims.

    Raises:
        UsageError: The bucket gives no size to a free dim, or the graph can't take the shape.
    """
    return tuple(map(cost_of, complete_walk(model, bucket).steps))


def complete_walk(model: OnnxModel, bucket: Shape) -> Walk:
    """The walk, with shapes that depend on data as they are in a run on full rows of ones."""
    first = walk(model, bucket)
    if not first.shapeless:
        return first
    return walk(model, bucket, measured_shapes(model, bucket, first))


def cost_of(step: Step) -> NodeCost:
    """What one node costs in all of its runs."""
    inside, outside = bytes_moved(step)
    shape = step.outputs[0].shape if step.outputs else None
    return NodeCost(
        name=step.name,
        op=step.op,
        module=step.module,
        flops=flops(step) * step.runs,
        vector_ops=_vector_ops(step) * step.runs,
        bytes_in=inside * step.runs,
        bytes_out=outside * step.runs,
        weight_bytes=weights_read(step) * step.runs,
        output_shape=shape or (),
        runs=step.runs,
    )


# ------------------------------------------------------------------------------------------------ FLOPs


def flops(step: Step) -> int:
    """FLOPs of one run of a step; 0 for what is no matrix product, or whose shapes are not known."""
    formula = _FLOPS.get(step.op)
    return 0 if formula is None or step.constant or not _has_shapes(step) else formula(step)


def _has_shapes(step: Step) -> bool:
    return all(tensor is None or tensor.shape is not None for tensor in (*step.inputs, *step.outputs))


def why_unknown(step: Step) -> str:
    """Why the FLOPs of a step can't be told; ``""`` where they can."""
    if step.op in _FLOPS:
        return "" if _has_shapes(step) else f"the shapes that {step.op} meets are not known before it runs"
    return f"no formula for the FLOPs of {step.op}" if step.op in _NO_FORMULA or "." in step.op else ""


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None or tensor.shape is None else tensor.shape


def _attribute(step: Step, name: str, default: int) -> int:
    return next((int(one.i) for one in step.proto.attribute if one.name == name), default)


def _matmul(step: Step) -> int:
    return 2 * step.outputs[0].elements * _shape(step.inputs[0])[-1]


def _gemm(step: Step) -> int:
    return 2 * step.outputs[0].elements * _shape(step.inputs[0])[0 if _attribute(step, "transA", 0) else 1]


def _convolution(step: Step, weight: int = 1) -> int:
    return 2 * step.outputs[0].elements * math.prod(_shape(step.inputs[weight])[1:])


def _transposed_convolution(step: Step) -> int:
    images, kernel = _shape(step.inputs[0]), _shape(step.inputs[1])
    return 2 * math.prod(images) * math.prod(kernel[1:])


def _einsum(step: Step) -> int:
    """Pairs from left to right, as torch does; an index stays as long as something behind still needs it."""
    equation = next(one.s.decode() for one in step.proto.attribute if one.name == "equation").replace(" ", "")
    left, _, right = equation.partition("->")
    terms = [_indices(term, len(_shape(tensor))) for term, tensor in zip(left.split(","), step.inputs, strict=True)]
    if "->" not in equation:
        everything = [index for term in terms for index in term]
        right = "".join(sorted(index for index in set(everything) if everything.count(index) == 1))
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, step.inputs, strict=True):
        for index, size in zip(term, _shape(tensor), strict=True):
            sizes[index] = max(size, sizes.get(index, 1))  # 1 stands for any size
    wanted = set(_indices(right, len(_shape(step.outputs[0]))))
    total, done = 0, set(terms[0])
    for place, term in enumerate(terms[1:], start=1):
        together = done | set(term)
        total += 2 * math.prod(sizes[index] for index in together)
        done = together & wanted.union(*terms[place + 1 :])
    return total


def _indices(term: str, rank: int) -> list[str]:
    """One name a dim; those that ``...`` stands for count from the end: ``"...1"`` is the last of them."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{place}" for place in range(hidden, 0, -1)), *after]


def _recurrent(step: Step) -> int:
    """RNN, GRU, LSTM: the gates' products with the input and with the state, at each place of the sequence."""
    steps_and_batch = math.prod(_shape(step.inputs[0])[:2])
    return 2 * steps_and_batch * sum(math.prod(_shape(tensor)) for tensor in step.inputs[1:3])


_FLOPS: Mapping[str, Callable[[Step], int]] = {
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "QLinearConv": lambda step: _convolution(step, weight=3),
    "ConvTranspose": _transposed_convolution,
    "Einsum": _einsum,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
}


# ------------------------------------------------------------------------------------------------ vector unit, bytes


def _vector_ops(step: Step) -> int:
    if step.constant or step.op in MOVES or step.op in _FLOPS:
        return 0
    if step.op in ("MaxPool", "AveragePool", "LpPool"):
        kernel = next(one.ints for one in step.proto.attribute if one.name == "kernel_shape")
        return step.outputs[0].elements * int(math.prod(kernel))
    first = step.inputs[0] if step.inputs else None
    if step.op.startswith(_BY_INPUT) and first is not None:
        return first.elements
    return step.outputs[0].elements * _PER_ELEMENT.get(step.op, 1)


def bytes_moved(step: Step, float_bytes: int | None = None) -> tuple[int, int]:
    """Bytes of activations that one run reads and writes."""
    read = _bytes_read(step, float_bytes, lambda tensor: not tensor.weight and tensor.value is None)
    return read, _bytes_written(step, float_bytes)


def weights_read(step: Step, float_bytes: int | None = None) -> int:
    """Bytes of weights that one run reads."""
    return _bytes_read(step, float_bytes, lambda tensor: tensor.weight)


def _bytes_written(step: Step, float_bytes: int | None) -> int:
    if step.constant or step.op in VIEWS:
        return 0
    return sum(tensor.bytes(float_bytes) for tensor in step.outputs)


def _bytes_read(step: Step, float_bytes: int | None, counts: Callable[[Tensor], bool]) -> int:
    if step.constant or step.op in VIEWS:
        return 0
    sizes = [0 if each is None or not counts(each) else each.bytes(float_bytes) for each in step.inputs]
    if sizes and step.op in READS_PART:
        sizes[0] = min(sizes[0], _bytes_written(step, float_bytes))
    return sum(sizes)
