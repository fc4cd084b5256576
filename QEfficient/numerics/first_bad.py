"""Where a run stops being finite."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from QEfficient.backends.base import Arrays
from QEfficient.numerics.check import Array
from QEfficient.numerics.diagnosis import Finding
from QEfficient.numerics.emulate import Precision, open_emulated
from QEfficient.numerics.outline import NodeInfo, inlined, one_row, outline
from QEfficient.numerics.samples import bucket_of
from QEfficient.numerics.verify import Sample
from QEfficient.records import OnnxModel


def first_bad(model: OnnxModel, arrays: Mapping[str, Array], precision: Precision) -> Finding | None:
    """The node from which NaN or Inf reaches an output, under emulation.

    An infinite number that reaches no output does not count: a mask of -Inf in front of a softmax is as good as -30000.

    Args:
        model: The graph.
        arrays: Inputs, any number of rows. Of those with a bad result the shortest is looked at.
        precision: What the graph is computed in.

    Returns:
        The first node, in the order of computing, whose result is not finite though all that it reads of others is;
        ``None`` when every output is finite.
    """
    nodes = outline(inlined(model))
    watch = [name for node in nodes for name in node.outputs]
    outputs = [spec.name for spec in model.outputs]
    rows = [one_row(arrays, row) for row in range(len(next(iter(arrays.values()))))]
    inner = [name for name in watch if name not in outputs]
    bucket = bucket_of(model.inputs, [Sample(arrays, ())])
    with open_emulated(model, precision, buckets=(bucket,), watch=inner) as session:
        for row in sorted(rows, key=lambda each: max(array.size for array in each.values())):
            values = session.run(row)
            bad = [name for name in outputs if badness(values[name])]
            if bad:
                return _finding(_origin(bad[0], nodes, values))
    return None


def badness(array: Array) -> int:
    """3 for an array with NaN, 2 with Inf, 1 with -Inf only, 0 for a finite one: what to follow first."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return 0
    return 3 if np.isnan(array).any() else 2 if (array == np.inf).any() else 1


def _origin(name: str, nodes: tuple[NodeInfo, ...], values: Arrays) -> NodeInfo:
    """Against the flow, from a bad output to the node that reads finite numbers only."""
    maker = {output: node for node in nodes for output in node.outputs}
    while True:
        node = maker[name]
        worst = max(node.inputs, key=lambda read: badness(values[read]) if read in values else 0, default=None)
        if worst is None or worst not in maker or not badness(values[worst]):
            return node
        name = worst


def _finding(node: NodeInfo) -> Finding:
    return Finding("overflow", node.name, node.op, node.module, np.inf, None, "its result is past what fp16 holds")
