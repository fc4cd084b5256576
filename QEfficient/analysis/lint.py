"""What in a graph is known to trouble the card's compiler, or to run slowly on the card.

Every rule is a function and names its source: the vendor's public documentation, its own library, or an issue that
its users filed. No public list of the operators that the compiler takes exists (``qaic-compile
-operators-supported=onnx`` writes the installed SDK's), so a graph without findings may still be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from QEfficient.analysis.memory import Weight, constants
from QEfficient.analysis.record import BucketCosts, LintFinding
from QEfficient.numerics.formats import BLOCK, MAX_FP16
from QEfficient.numerics.node_costs import MOVES
from QEfficient.numerics.steps import Step, Walk
from QEfficient.onnx_transforms import weights

_DOCS = "https://docs.qualcomm.com/doc/80-99100-3/topic/"
OPERATORS = f"Cloud AI SDK, Operator and data type support: {_DOCS}index_Operator-and-Datatype-support.html"
PREPARE = f"Cloud AI SDK, Prepare the model: {_DOCS}index_Prepare-the-model.html"
COMPILE = "Cloud AI SDK, Compile the model: https://github.com/quic/cloud-ai-sdk-pages"
TRILU = "an issue of the SDK's users: https://github.com/quic/cloud-ai-sdk/issues/16"
ENCODERS = "Cloud AI SDK, table of encoders: https://github.com/quic/cloud-ai-sdk, lut_nlp_models.csv"
VENDOR_LIBRARY = "the vendor's library: https://github.com/quic/efficient-transformers"
MICROSCALING = "OCP Microscaling Formats (MX) Specification v1.0, section 6"

OPSETS = range(11, 19)
"""Opsets that the vendor's documentation, recipes and library use; whether later ones are taken is not documented."""

MOST_BUCKETS = 14
"""The vendor's library warns from 15 lengths in one program on."""

LARGE_OUTPUT = 4 * 2**20
"""Bytes of output a row from which the link to the host is what limits: a vocabulary's logits, not a vector."""

LARGE_MODEL = 2 * 10**9  # bytes; a protobuf file can't hold more

_LEVELS = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class LintContext:
    """What the rules look at.

    Attributes:
        model: The graph; no large weight in memory.
        walk: The graph at its smallest bucket, as far as shape inference alone knows it.
        weights: Its constants.
        buckets: What each bucket costs.
    """

    model: ir.Model
    walk: Walk
    weights: Sequence[Weight]
    buckets: Sequence[BucketCosts]


def lint(context: LintContext) -> tuple[LintFinding, ...]:
    """Every finding of every rule, errors first."""
    found = [finding for rule in RULES for finding in rule(context)]
    return tuple(sorted(found, key=lambda finding: _LEVELS.index(finding.level)))


def _about(steps: Sequence[Step], rule: str, level: str, text: str, do: str, source: str) -> Iterator[LintFinding]:
    """One finding about all of these steps; none where there are none."""
    if steps:
        names = tuple(dict.fromkeys(step.name for step in steps))
        modules = tuple(dict.fromkeys(step.module for step in steps if step.module))
        yield LintFinding(rule, level, text, do, source, names, ", ".join(sorted({one.op for one in steps})), modules)


def _live(context: LintContext) -> list[Step]:
    """Steps whose results depend on the inputs; the others are done when the compiler folds constants."""
    return [step for step in context.walk.steps if not step.constant]


# ------------------------------------------------------------------------------------------------ shapes and control


def data_dependent_shapes(context: LintContext) -> Iterator[LintFinding]:
    """Shapes that follow from the data: every program of the card is compiled for fixed ones."""
    guilty = [
        step
        for step in context.walk.steps
        if any(tensor.shape is None for tensor in step.outputs)
        and all(tensor is None or tensor.shape is not None for tensor in step.inputs)
        and "." not in step.op
    ]
    for op in dict.fromkeys(step.op for step in guilty):
        text = f"The shape of what {op} gives depends on the data, and the compiler needs every shape."
        do = "change the model's code so that it computes with masks of a fixed shape"
        steps = [step for step in guilty if step.op == op]
        yield from _about(steps, "data-dependent-shape", "error", text, do, PREPARE)


def control_flow(context: LintContext) -> Iterator[LintFinding]:
    """``If``, ``Loop`` and ``Scan`` that stay when the shapes are known."""
    for node in weights.nodes(context.model):
        if node.domain == "" and node.op_type in ("If", "Loop", "Scan", "SequenceMap"):
            name = str(node.outputs[0].name)
            text = f"{node.op_type} decides while the graph runs; programs of the card are compiled ahead of time."
            do = "unroll the loop or take the branch in the model's code; the SDK's Model Preparator can unroll some"
            module = weights.node_module(node)
            yield LintFinding(
                "control-flow", "warning", text, do, PREPARE, (name,), node.op_type, (module,) if module else ()
            )


def trilu_diagonal(context: LintContext) -> Iterator[LintFinding]:
    """``Trilu`` whose diagonal is a tensor of rank 1: the compiler was seen to refuse it."""
    steps = [
        step
        for step in _live(context)
        if step.op == "Trilu" and len(step.inputs) > 1 and step.inputs[1] is not None and step.inputs[1].shape != ()
    ]
    text = "Trilu takes its diagonal as a tensor that is no scalar; the compiler said 'Diagonal must be scalar'."
    yield from _about(steps, "trilu-diagonal", "error", text, "give the diagonal as a scalar constant", TRILU)


# ------------------------------------------------------------------------------------------------ operators


def einsum(context: LintContext) -> Iterator[LintFinding]:
    """``Einsum``: the documentation's own example of an operator that may be missing."""
    steps = [step for step in _live(context) if step.op == "Einsum"]
    text = "Einsum is the documentation's example of an operator that the compiler may not take."
    do = "write it as MatMul and Transpose in the model's code, or run the SDK's Model Preparator on the graph"
    yield from _about(steps, "einsum", "warning", text, do, OPERATORS)


def foreign_operators(context: LintContext) -> Iterator[LintFinding]:
    """Operators of other domains that are no functions of the graph: a runtime's own, or custom ones."""
    foreign = [step for step in context.walk.steps if "." in step.op]
    for op in dict.fromkeys(step.op for step in foreign):
        steps = [step for step in foreign if step.op == op]
        text = f"{op} is no operator of the ONNX standard."
        do = "export the graph without a runtime's fused operators, or register it: -register-custom-op"
        yield from _about(steps, "foreign-operator", "error", text, do, OPERATORS)


def opset(context: LintContext) -> Iterator[LintFinding]:
    """An opset that the vendor does not use anywhere public."""
    version = context.model.graph.opset_imports.get("", 0)
    if version not in OPSETS:
        text = f"The graph is of opset {version}; the vendor's recipes and library use {OPSETS[0]} to {OPSETS[-1]}."
        yield LintFinding("opset", "warning", text, "export it with opset 18", VENDOR_LIBRARY)


def decomposed_norms(context: LintContext) -> Iterator[LintFinding]:
    """Norms written as mean of squares → root → division, for which the vendor's library has one operator."""
    steps = _live(context)
    made = {tensor: step for step in steps for tensor in step.outputs}
    squares = [
        step
        for step in steps
        if step.op in ("ReduceMean", "ReduceSum") and _is_square(made.get(step.inputs[0]) if step.inputs[0] else None)
    ]
    rooted = [step for step in squares if _reaches_root(step, steps)]
    what = "norm stands" if len(rooted) == 1 else "norms stand"
    text = f"{len(rooted)} {what} in the graph as single operators, each a pass over memory unless they are fused."
    do = "nothing, unless a card's profile shows them: the vendor's library writes RMS norms as one custom operator"
    yield from _about(rooted, "decomposed-norm", "note", text, do, f"{VENDOR_LIBRARY}, its CustomRMSNorm")


def _is_square(step: Step | None) -> bool:
    if step is None:
        return False
    if step.op == "Mul":
        return step.inputs[0] is step.inputs[1]
    exponent = step.inputs[1].value if step.op == "Pow" and step.inputs[1] is not None else None
    return exponent is not None and exponent.size == 1 and float(exponent.reshape(-1)[0]) == 2.0


def _reaches_root(step: Step, steps: Sequence[Step]) -> bool:
    """Whether a root is taken of it, or of it and a small number."""
    reached = set(step.outputs)
    for other in steps:
        if reached.intersection(tensor for tensor in other.inputs if tensor is not None):
            if other.op == "Sqrt":
                return True
            if other.op in ("Add", "Max", "Clip"):
                reached.update(other.outputs)
    return False


# ------------------------------------------------------------------------------------------------ numbers


def constants_beyond_fp16(context: LintContext) -> Iterator[LintFinding]:
    """Constants past ±65504, which fp16 has no number for."""
    guilty = [value for value, tensor in constants(context.model) if _beyond(tensor)]
    if guilty:
        modules = tuple(dict.fromkeys(path for path in map(weights.module_path, guilty) if path))
        names = tuple(str(value.name) for value in guilty)
        text = f"{len(guilty)} constants hold numbers past ±65504, which become ±Inf with -convert-to-fp16."
        do = "bring them into range; the passes of this library do so on its own exports"
        yield LintFinding("constant-beyond-fp16", "warning", text, do, OPERATORS, names, "Constant", modules)


def _beyond(tensor: ir.TensorProtocol) -> bool:
    if not tensor.dtype.is_floating_point() or tensor.dtype.bitwidth < 16:
        return False
    sizes = (np.abs(block.astype(np.float64)) for block in weights.blocks(tensor))
    return any(bool(np.any((size > MAX_FP16) & (size < np.inf))) for size in sizes)


def bfloat16(context: LintContext) -> Iterator[LintFinding]:
    """bfloat16 weights: not native on AI 100, and trained to a range that fp16 does not have."""
    held = [one for one in context.weights if one.dtype == ir.DataType.BFLOAT16]
    if held:
        text = f"{len(held)} weights are bfloat16: what is computed with them may overflow in fp16."
        modules = tuple(dict.fromkeys(one.module for one in held if one.module))
        names = tuple(one.name for one in held)
        do = "measure it: model.verify(emulate=True), then model.doctor(texts)"
        yield LintFinding("bfloat16", "warning", text, do, OPERATORS, names, "", modules)


def wide_integers(context: LintContext) -> Iterator[LintFinding]:
    """Arithmetic on int64 values past 32 bits: whether the card narrows them is not documented."""
    steps = [
        step
        for step in _live(context)
        if step.op not in MOVES
        and any(
            tensor is not None
            and tensor.value is not None
            and tensor.dtype in (ir.DataType.INT64, ir.DataType.UINT64)
            and bool(np.any(np.abs(tensor.value.astype(np.float64)) > 2**31 - 1))
            for tensor in step.inputs
        )
    ]
    text = "Integers past 32 bits take part in arithmetic; how the card holds int64 is not documented."
    do = "compute with smaller numbers in the model's code, and verify the program on a card"
    yield from _about(steps, "wide-integer", "warning", text, do, OPERATORS)


def mx_blocks(context: LintContext) -> Iterator[LintFinding]:
    """MatMul weights whose reduced side is no multiple of 32: the last block of MXFP6 is filled up."""
    odd = [
        step
        for step in _live(context)
        if step.op == "MatMul"
        and step.inputs[1] is not None
        and step.inputs[1].weight
        and step.inputs[1].shape
        and len(step.inputs[1].shape) > 1
        and step.inputs[1].shape[-2] % BLOCK
    ]
    text = f"{len(odd)} MatMul weights have a reduced side that is no multiple of {BLOCK}, MXFP6's block."
    do = "nothing for fp16; with mxfp6_matmul=True the last block of each column is padded"
    yield from _about(odd, "mx-block", "note", text, do, MICROSCALING)


# ------------------------------------------------------------------------------------------------ size


def large_outputs(context: LintContext) -> Iterator[LintFinding]:
    """Outputs so large that sending them to the host takes longer than computing them."""
    for tensor in context.walk.outputs:
        for costs in context.buckets[-1:]:
            first = context.buckets[0].bucket
            rows = tensor.bytes() // max(first.batch, 1)
            grows = first.length in (tensor.shape or ())
            size = rows * (costs.bucket.length // max(first.length, 1) if grows else 1)
            if size > LARGE_OUTPUT:
                text = (
                    f"Output {tensor.name!r} has {size / 2**20:.0f} MB a row at {costs.bucket.length}. Heads with a "
                    "vocabulary's logits were measured several times slower than the encoder alone."
                )
                do = "pool or take the maximum inside the graph, or ask for a smaller output"
                yield LintFinding("large-output", "warning", text, do, ENCODERS)


def many_buckets(context: LintContext) -> Iterator[LintFinding]:
    """More lengths in one program than the vendor's library takes without a warning."""
    if len(context.buckets) > MOST_BUCKETS:
        text = f"{len(context.buckets)} buckets in one program; {MOST_BUCKETS} or fewer are usual."
        do = "leave some lengths out: a row runs in the smallest bucket that holds it"
        yield LintFinding("many-buckets", "warning", text, do, VENDOR_LIBRARY)


def large_model(context: LintContext) -> Iterator[LintFinding]:
    """Weights that one file can't hold: the graph travels with external data."""
    size = sum(weight.elements * weight.dtype.bitwidth // 8 for weight in context.weights)
    if size >= LARGE_MODEL:
        text = f"The weights take {size / 1e9:.1f} GB, more than one ONNX file holds, so they stand in external data."
        do = "keep the data files beside the graph, and check on how many cards it fits"
        yield LintFinding("large-model", "note", text, do, COMPILE)


RULES: tuple[Callable[[LintContext], Iterator[LintFinding]], ...] = (
    data_dependent_shapes,
    control_flow,
    trilu_diagonal,
    einsum,
    foreign_operators,
    opset,
    decomposed_norms,
    constants_beyond_fp16,
    bfloat16,
    wide_integers,
    mx_blocks,
    large_outputs,
    many_buckets,
    large_model,
)
"""Every rule. Each is given the context and yields findings."""
