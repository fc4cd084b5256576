"""The smallest set of nodes that has to stay in fp32."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from QEfficient.errors import NumericsError
from QEfficient.numerics.bench import Bench
from QEfficient.numerics.check import Array, Comparison, vectors
from QEfficient.numerics.outline import NodeInfo
from QEfficient.numerics.ranges import TensorRange
from QEfficient.numerics.verify import Criterion, Reference, Sample, Verification

LOSSY = 2.0**-7
"""Rounding to fp16 takes off 0.0003 of a healthy tensor's norm; from here on much of it is below fp16's numbers."""

_SCREEN = 4  # rows that a set is tried on before it is tried on all
Predicate = Callable[[frozenset[str]], bool]


class Trials:
    """Runs a graph with sets of nodes in fp32.

    Args:
        bench: The graph.
        criterion: What must hold, and on which samples.
        progress: Called after each run.
    """

    def __init__(self, bench: Bench, criterion: Criterion, progress: Callable[[int], None] | None = None) -> None:
        self.bench, self.criterion, self.progress = bench, criterion, progress

    def result(self, fp32: frozenset[str], rows: Sequence[Reference] | None = None) -> Verification:
        """How well the graph does with these nodes in fp32: on these rows, or on all."""
        if self.progress is not None:
            self.progress(1)
        asked = self.criterion if rows is None else replace(self.criterion, references=rows)
        return asked.check(lambda inputs: self.bench.run(inputs, fp32), "a trial")

    def passes(self, fp32: frozenset[str], screen: Iterable[Reference]) -> bool:
        """Whether the limits hold on rows that are samples of their own. It stops at the first that fails."""
        return all(self.result(fp32, [row]).passed for row in screen)

    def worst(self, fp32: frozenset[str], count: int = _SCREEN) -> dict[tuple[int, int], Reference]:
        """The rows that do worst with these nodes in fp32, each a sample of its own; of equals the shortest.

        Returns:
            Place of the sample, and of the row in it → the row.
        """
        found: list[tuple[float, int, int, int]] = []
        for place, (sample, want) in enumerate(self.criterion.references):
            got = self.bench.run(sample.inputs, fp32)
            size = max(array.size for array in sample.inputs.values()) // max(1, len(sample.names))
            for row, off in enumerate(_distance(sample, want, got, self.criterion.how)):
                found.append((-off, size, place, row))
        return {(place, row): _row(self.criterion.references[place], row) for _, _, place, row in sorted(found)[:count]}


def _distance(
    sample: Sample, want: Mapping[str, Array], got: Mapping[str, Array], how: Comparison
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far each row is off: the largest norm of a difference ÷ norm; Inf for what is not finite."""
    off = np.zeros(len(sample.names))
    for spec in how.outputs:
        a, b = (vectors(side[spec.name], spec, sample.inputs, how.frames) for side in (want, got))
        with np.errstate(invalid="ignore", over="ignore"):
            each = np.linalg.norm(a.values - b.values, axis=1) / np.maximum(np.linalg.norm(a.values, axis=1), 1e-12)
        np.maximum.at(off, a.rows, np.nan_to_num(each, nan=np.inf, posinf=np.inf))
    return off


def _row(reference: Reference, row: int) -> Reference:
    sample, outputs = reference
    one = slice(row, row + 1)
    inputs = {name: array[one] for name, array in sample.inputs.items()}
    return Sample(inputs, sample.names[one], sample.texts), {name: array[one] for name, array in outputs.items()}


def smallest(
    trials: Trials, nodes: Sequence[NodeInfo], found: Sequence[TensorRange], flops: Mapping[str, float]
) -> frozenset[str]:
    """A set of nodes in fp32 that meets the limits, none of which can be left out.

    Candidates are the nodes that read or make what overflows, then those where rounding takes much off, then all. What
    a set needs shows on a few rows, so sets are tried on those that do worst; what is found is tried on all rows, and
    those that it fails join. Where it fails on all rows together only (ranks), it is returned as it is.

    Args:
        trials: What a set is tried with.
        nodes: The graph's nodes.
        found: The ranges of its values and weights.
        flops: First output name → FLOPs; among nodes that could stand in for each other, the cheaper one stays.

    Raises:
        NumericsError: Not even the whole graph in fp32 meets the limits.
    """
    whole = trials.result(frozenset(trials.bench.nodes))
    if not whole.passed:
        raise NumericsError(
            "The limits do not even hold with every node in fp32, so no node-precision file can meet them.",
            got="; ".join(whole.failures),
            allowed="limits that the graph in fp32 meets",
            do="set other limits, or look for the fault in the graph: verify() compares it with HuggingFace",
        )
    screen = trials.worst(frozenset())
    candidates = _ordered(nodes, found, flops)
    known = {node.name for node in nodes}
    candidates.append([name for name in trials.bench.nodes if name not in known])  # of graphs inside a node
    chosen: frozenset[str] = frozenset()
    while True:
        passes = partial(trials.passes, screen=tuple(screen.values()))
        chosen |= _least(passes, candidates, chosen)
        passed = trials.result(chosen).passed
        more = {} if passed else trials.worst(chosen)
        if more.keys() <= screen.keys():  # it passes, or every row does and ranks do not: that takes stricter limits
            return _pruned(trials, chosen, screen.values(), flops) if passed else chosen
        screen |= more


def _ordered(nodes: Sequence[NodeInfo], found: Sequence[TensorRange], flops: Mapping[str, float]) -> list[list[str]]:
    """Candidates in groups, the likeliest first; within a group the cheapest first."""
    by_name = {met.name: met for met in found}

    def need(node: NodeInfo) -> int:
        met = [by_name[name] for name in (*node.inputs, *node.outputs, *node.constants) if name in by_name]
        return 0 if any(each.overflows for each in met) else 1 if any(each.lost > LOSSY for each in met) else 2

    order = sorted(nodes, key=lambda node: flops.get(node.name, 0.0))
    return [[node.name for node in order if need(node) == level] for level in range(3)]


def _least(passes: Predicate, groups: Sequence[Sequence[str]], base: frozenset[str]) -> frozenset[str]:
    """What has to join ``base``: of the first groups with which it passes."""
    candidates: list[str] = []
    for group in groups:
        candidates += [name for name in group if name not in base]
        if passes(base | frozenset(candidates)):
            break
    return frozenset(quickxplain(passes, candidates, base))


def quickxplain(passes: Predicate, candidates: Sequence[str], base: frozenset[str] = frozenset()) -> list[str]:
    """A subset of ``candidates`` that passes together with ``base``, none of which can be left out.

    Junker's QuickXplain (AAAI 2004): k of n take about k·log₂(n ÷ k) + 2k tries. Those that come first are kept first.
    ``base`` with all of ``candidates`` passes; a set that contains one that passes is taken to pass too.
    """
    if passes(base):
        return []
    return _split(passes, list(candidates), base)


def _split(passes: Predicate, candidates: list[str], base: frozenset[str]) -> list[str]:
    """As :func:`quickxplain` where ``base`` alone does not pass."""
    if len(candidates) == 1:
        return candidates
    middle = len(candidates) // 2
    first, second = candidates[:middle], candidates[middle:]
    late = quickxplain(passes, second, base | frozenset(first))
    early = quickxplain(passes, first, base | frozenset(late)) if late else _split(passes, first, base)
    return early + late


def _pruned(
    trials: Trials, chosen: frozenset[str], screen: Collection[Reference], flops: Mapping[str, float]
) -> frozenset[str]:
    """Without nodes that can be left out by themselves after all, the dearest first."""
    for name in sorted(chosen, key=lambda each: (-flops.get(each, 0.0), each)):
        less = chosen - {name}
        if trials.passes(less, screen) and trials.result(less).passed:
            chosen = less
    return chosen


def share(chosen: Collection[str], flops: Mapping[str, float]) -> float:
    """The share of all FLOPs that these nodes have."""
    total = sum(flops.values())
    return sum(flops.get(name, 0.0) for name in chosen) / total if total else 0.0
