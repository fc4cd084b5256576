"""What one run of a graph at a bucket costs: its nodes' costs, summed by operator and by module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from QEfficient.analysis.memory import peak_memory
from QEfficient.analysis.record import BucketCosts, ModuleCosts, OperatorCosts
from QEfficient.numerics.node_costs import NodeCost, bytes_moved, complete_walk, cost_of, weights_read, why_unknown
from QEfficient.records import OnnxModel, Shape


def bucket_costs(model: OnnxModel, bucket: Shape) -> BucketCosts:
    """What one run of ``model`` at ``bucket`` costs, by node, operator and module.

    How a node's costs are counted: see :mod:`QEfficient.numerics.node_costs`.
    """
    steps = complete_walk(model, bucket)
    nodes = tuple(cost_of(step) for step in steps.steps)
    unknown = dict(steps.unknown)
    for step in steps.steps:
        reason = why_unknown(step)
        if reason:
            unknown.setdefault(step.name, reason)
    return BucketCosts(
        bucket=bucket,
        flops=sum(node.flops for node in nodes),
        vector_ops=sum(node.vector_ops for node in nodes),
        activation_bytes=sum(sum(bytes_moved(step, 2)) * step.runs for step in steps.steps),
        weight_bytes=sum(weights_read(step, 2) * step.runs for step in steps.steps),
        io_bytes=sum(tensor.bytes() for tensor in (*steps.inputs, *steps.outputs)),
        peak=peak_memory(steps),
        operators=_by_operator(nodes),
        modules=_by_module(nodes),
        nodes=nodes,
        unknown=unknown,
    )


def _by_operator(nodes: Sequence[NodeCost]) -> tuple[OperatorCosts, ...]:
    groups: dict[str, list[NodeCost]] = {}
    for node in nodes:
        groups.setdefault(node.op, []).append(node)
    made = [
        OperatorCosts(
            op=op,
            count=len(group),
            flops=sum(node.flops for node in group),
            vector_ops=sum(node.vector_ops for node in group),
            bytes=sum(node.bytes_in + node.bytes_out + node.weight_bytes for node in group),
        )
        for op, group in groups.items()
    ]
    return tuple(sorted(made, key=lambda one: (-one.flops, -one.vector_ops, -one.count, one.op)))


def _by_module(nodes: Iterable[NodeCost]) -> tuple[ModuleCosts, ...]:
    sums: dict[str, tuple[int, int]] = {}
    for node in nodes:
        flops_, vector_ops = sums.get(node.module, (0, 0))
        sums[node.module] = flops_ + node.flops, vector_ops + node.vector_ops
    return tuple(ModuleCosts(path, flops=one, vector_ops=other) for path, (one, other) in sums.items())
