"""Which layers must stay as they are: the least cost in arithmetic with which the numbers are good enough.

A layer's own error is what the model's vectors are off by with only this layer in int8. Errors of layers about add up,
so those that cost most accuracy for their arithmetic are left out first, and the number of them is bisected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from QEfficient.compress.layers import Layer
from QEfficient.numerics.verify import Verification

MOST_PARTS = 96
"""Layers of a deeper model are measured several together, neighbours in the graph, so that the search has an end."""

Trial = Callable[[frozenset[int]], Verification]
"""How good the model is with these layers left out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the search found.

    Attributes:
        left_out: Places of the layers that stay as they are.
        errors: Place → 1 - mean cosine with the layer's part alone in int8; empty where every layer may be int8.
        result: How good the model is with these left out.
        trials: Graphs that were run.
    """

    left_out: frozenset[int]
    errors: dict[int, float]
    result: Verification
    trials: int


def search(layers: Sequence[Layer], trial: Trial) -> Choice:
    """Leaves out as little as meets the limits of ``trial``.

    With every layer left out the model is as it was, and that always passes: whoever calls looks at how many are left.
    """
    count = 0

    def run(left_out: frozenset[int]) -> Verification:
        nonlocal count
        count += 1
        return trial(left_out)

    everything = frozenset(range(len(layers)))
    result = run(frozenset())
    if result.passed:
        return Choice(frozenset(), {}, result, count)
    parts = _parts(len(layers))
    errors = [1.0 - run(everything - part).mean_cosine for part in parts]
    costs = [sum(layers[index].cost for index in part) for part in parts]
    order = sorted(range(len(parts)), key=lambda each: (-errors[each] / costs[each], each))

    fails, passes = 0, len(order)
    best: Verification | None = None
    while passes - fails > 1:
        middle = (fails + passes) // 2
        tried = run(_union(parts, order[:middle]))
        if tried.passed:
            passes, best = middle, tried
        else:
            fails = middle
    left = order[:passes]
    for each in sorted(left[:-1], key=lambda each: (-costs[each], errors[each], each)):
        fewer = [other for other in left if other != each]
        tried = run(_union(parts, fewer))
        if tried.passed:
            left, best = fewer, tried
    left_out = _union(parts, left)
    found = {index: error for part, error in zip(parts, errors, strict=True) for index in part}
    return Choice(left_out, found, best or run(left_out), count)


def _parts(count: int) -> list[frozenset[int]]:
    size = -(-count // MOST_PARTS)
    return [frozenset(range(start, min(start + size, count))) for start in range(0, count, size)]


def _union(parts: Sequence[frozenset[int]], chosen: Sequence[int]) -> frozenset[int]:
    return frozenset(index for each in chosen for index in parts[each])
