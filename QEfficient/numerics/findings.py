"""Ranges → what is worth telling, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from QEfficient.numerics.diagnosis import Finding, Kind
from QEfficient.numerics.emulate import EXACT
from QEfficient.numerics.formats import MAX_FP16
from QEfficient.numerics.outline import NodeInfo
from QEfficient.numerics.ranges import TensorRange
from QEfficient.numerics.search import LOSSY

_ON_THE_WAY = frozenset({"Add", "Sub", "Mul", "Div", "Where", "Cast", "Identity"})  # between scores and their softmax
_FILL = 1e4  # a mask's fill is past any score


def findings(
    nodes: Sequence[NodeInfo], found: Sequence[TensorRange], margin: float, fp32_nodes: Collection[str]
) -> tuple[Finding, ...]:
    """What of the ranges does not fit fp16, in graph order.

    Operators that only pass numbers on are left out: what they pass on is told where it is made.

    Args:
        nodes: The graph's nodes.
        found: Their ranges.
        margin: Share of fp16's largest number from which a value is near it.
        fp32_nodes: What the search chose: the others of what overflows do no harm.
    """
    values = {met.name: met for met in found}
    readers: dict[str, list[NodeInfo]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    told: list[Finding] = []
    for node in nodes:
        kinds = list(_kinds(node, values, margin))
        needed = node.name in fp32_nodes
        if needed and not kinds and node.op not in EXACT:
            worst = _worst(node, values)
            kinds = [("overflow" if worst.overflows else "loss", worst)]
        for kind, met in kinds:
            harmless = kind == "overflow" and fp32_nodes and not needed and not _beside(node, readers, fp32_nodes)
            text = _text(kind, met, node, readers) + (" (harmless: nothing has to be in fp32 for it)" * bool(harmless))
            told.append(Finding(kind, node.name, node.op, node.module, met.largest, met.channel, text))
    return tuple(told)


def _kinds(node: NodeInfo, values: dict[str, TensorRange], margin: float) -> Iterator[tuple[Kind, TensorRange]]:
    made = [values[name] for name in node.outputs if name in values] if node.op not in EXACT else []
    for met in [*made, *(values[name] for name in node.constants if name in values)]:
        if met.overflows:
            yield "overflow", met
        elif met.largest > margin * MAX_FP16:
            yield "near", met
        elif met.lost > LOSSY:
            yield "loss", met


def _worst(node: NodeInfo, values: dict[str, TensorRange]) -> TensorRange:
    """Of a node that has to be in fp32 though what it makes fits: what of it loses most."""
    met = [values[name] for name in (*node.outputs, *node.inputs, *node.constants) if name in values]
    return max(
        met, key=lambda each: each.lost, default=TensorRange(node.name, node.name, node.op, node.module, 0, 0, 0)
    )


def _beside(node: NodeInfo, readers: dict[str, list[NodeInfo]], fp32: Collection[str]) -> bool:
    return any(reader.name in fp32 for name in node.outputs for reader in readers.get(name, []))


def _text(kind: Kind, met: TensorRange, node: NodeInfo, readers: dict[str, list[NodeInfo]]) -> str:
    what = f"the weight {met.name!r}" if not met.node else _what(met, node, readers)
    where = f", channel {met.channel} far above all others" if met.channel is not None else ""
    size = f"{what} up to {met.largest:.4g}{where}"
    if kind == "overflow":
        return f"{'reads ' * (met.name in node.inputs)}{size}: infinite in fp16"
    if kind == "near":
        return f"{size}: {met.largest / MAX_FP16:.0%} of fp16's largest number"
    if met.lost > LOSSY:
        return f"{size}: so small that fp16 takes {met.lost:.0%} off"
    return f"{size}: fits, but what follows needs it more exact than fp16 is"


def _what(met: TensorRange, node: NodeInfo, readers: dict[str, list[NodeInfo]]) -> str:
    if met.largest >= _FILL and met.smallest == met.largest:
        return "a constant that stands for minus infinity,"
    if node.op == "Pow" or (node.op == "Mul" and len(node.inputs) == 1 and not node.constants):
        return "squares"
    if node.op in ("ReduceSum", "ReduceSumSquare", "CumSum"):
        return "a sum"
    if node.op == "MatMul" and len(node.inputs) == 2 and _meets(node, "Softmax", readers):
        return "attention scores"
    return "numbers"


def _meets(node: NodeInfo, op: str, readers: dict[str, list[NodeInfo]], steps: int = 5) -> bool:
    following = [reader for name in node.outputs for reader in readers.get(name, [])]
    if any(reader.op == op for reader in following):
        return True
    return steps > 0 and any(_meets(each, op, readers, steps - 1) for each in following if each.op in _ON_THE_WAY)
