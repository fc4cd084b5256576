"""Powers of two folded into weights, so that what overflows in fp16 no longer does, and no fp32 result changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx_ir as ir

from QEfficient.numerics.diagnosis import Rewrite
from QEfficient.numerics.exponents import Exponents, System
from QEfficient.numerics.formats import MAX_FP16
from QEfficient.numerics.outline import infer_types
from QEfficient.numerics.ranges import TensorRange, weight_range
from QEfficient.numerics.search import LOSSY
from QEfficient.onnx_transforms import apply, new_values, read, run, weights
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.records import OnnxModel

HIGH, LOW = 10.0, -4.0
"""Where the logarithm (base 2) of a tensor's largest magnitude is at home: 2⁶ below fp16's largest number, for other
texts; and 2¹⁰ above its smallest normal one, so that small entries keep their bits."""

_FARTHEST = 60  # of a factor's exponent: beyond it fp32's own range would come near
_TINY = -24.0  # exponent of fp16's smallest number
_FP32 = (-120.0, 120.0)  # exponents of fp32 numbers that a factor may lead to


def rewrite(
    model: OnnxModel, found: Sequence[TensorRange], folder: Path, margin: float
) -> tuple[OnnxModel, tuple[Rewrite, ...]]:
    """Writes the graph with its troubled values brought into range, where that is exact.

    Args:
        model: Stays as it is.
        found: The ranges of its values and weights.
        folder: An empty folder for the new graph.
        margin: Share of fp16's largest number from which a value is brought down.

    Returns:
        The new graph, and what was folded; ``model`` itself where nothing could be.
    """
    trial = FoldScales(found, margin)
    run(read(model.path), (infer_types(), trial))
    if not trial.rewrites:
        return model, ()
    made = apply(model, folder, passes=(infer_types, lambda: FoldScales(found, margin), RemoveDeadCode))
    return made, tuple(trial.rewrites)


class FoldScales(ir.passes.InPlacePass):
    """Multiplies values that fp16 can't hold by powers of two that neighbouring weights and norms take out again.

    Looks at the values and weights of the main graph that overflow, come near it, or are so small that rounding takes
    much off. Between value and output projection, query and key, a norm and the next one, and along a whole residual
    stream there is such a factor; between an up-projection and its activation there is none.

    Args:
        found: What was met in each value and weight.
        margin: Share of fp16's largest number from which a value is brought down.
    """

    def __init__(self, found: Sequence[TensorRange], margin: float) -> None:
        self.margin = margin
        self.found = {met.name: met for met in found}
        self.rewrites: list[Rewrite] = []

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        tried: set[ir.Value] = set()
        system = System(model.graph)
        while seed := next((value for value in self._seeds(model.graph) if value not in tried), None):
            tried.add(seed)
            best = min((self._plan(system, exponents) for exponents in system.solutions(seed)), default=None)
            if best is not None and best.better:
                self._carry_out(model.graph, best)
                system = System(model.graph)  # weights were replaced
        return ir.passes.PassResult(model, modified=bool(self.rewrites))

    def _seeds(self, graph: ir.Graph) -> Iterator[ir.Value]:
        """Values in trouble, and those beside a weight in trouble."""
        for node in graph:
            yield from (value for value in node.outputs if self._troubled(value))
            if any(self._troubled(value) for value in node.inputs if weights.constant(value) is not None):
                yield from node.outputs
                yield from (value for value in node.inputs if value is not None and weights.constant(value) is None)

    def _troubled(self, value: ir.Value | None) -> bool:
        met = None if value is None else self.found.get(str(value.name))
        if met is None or met.smallest == met.largest:  # one number, such as a mask's fill, an epsilon
            return False
        return met.largest > self.margin * MAX_FP16 or met.lost > LOSSY

    def _plan(self, system: System, exponents: Exponents) -> _Plan:
        """The best multiple of a solution."""
        constants = _constants(system, exponents)
        items = [(value, factor) for value, factor in exponents.items()]
        items += [(value, factor) for (node, index), factor in constants.items() if (value := node.inputs[index])]
        known = [(met, float(factor)) for value, factor in items if (met := self.found.get(str(value.name)))]
        unit = math.lcm(*(factor.denominator for _, factor in items))
        steps = [unit * n for n in range(-_FARTHEST, _FARTHEST + 1)]
        allowed = [step for step in steps if all(_allows(met, factor * step) for met, factor in known)]
        now = _cost(known, 0)
        cost, _, step = min((_cost(known, step), abs(step), step) for step in (*allowed, 0))
        touched = sum((abs(factor) for _, factor in items), Fraction(0))
        return _Plan(cost, touched, step, now, exponents, constants)

    def _carry_out(self, graph: ir.Graph, plan: _Plan) -> None:
        values = {value: int(factor * plan.step) for value, factor in plan.exponents.items()}
        ordered = [value for node in graph for value in node.outputs if value in values]
        _scale_epsilons(graph, values)
        scaled = tuple(
            self._scale_constant(graph, node, index, int(factor * plan.step))
            for (node, index), factor in plan.constants.items()
        )
        for value in ordered:
            self._note(str(value.name), values[value])
        maker = ordered[0].producer()
        module = weights.node_module(maker) if maker is not None else ""
        self.rewrites.append(Rewrite(values[ordered[0]], tuple(str(v.name) for v in ordered), scaled, module))

    def _scale_constant(self, graph: ir.Graph, node: ir.Node, index: int, exponent: int) -> str:
        """Gives ``node`` a weight of its own; returns the old one's name."""
        old = node.inputs[index]
        tensor = weights.constant(old)
        assert old is not None and tensor is not None
        name = f"{old.name}/2^{exponent}"
        while name in graph.initializers:
            name += "'"
        scaled = new_values.changed(tensor, lambda array: np.ldexp(array, exponent), name)
        node.replace_input_with(index, new_values.initializer(graph, scaled, name))
        self.found[name] = TensorRange(name, "", "", weights.node_module(node), *weight_range(tensor, exponent))
        return str(old.name)

    def _note(self, name: str, exponent: int) -> None:
        """What the value's range is now. What rounding takes off is measured again later; in range it is little."""
        met = self.found.get(name)
        if met is not None:
            largest, smallest = math.ldexp(met.largest, exponent), math.ldexp(met.smallest, exponent)
            self.found[name] = replace(met, largest=largest, smallest=smallest, lost=0.0)


@dataclass(frozen=True, slots=True, order=True)
class _Plan:
    """A solution, and the multiple of it that is best; plans order by what they leave, then by what they touch."""

    cost: float
    touched: Fraction
    step: int
    now: float
    exponents: Exponents
    constants: Mapping[tuple[ir.Node, int], Fraction]

    @property
    def better(self) -> bool:
        """Whether it is worth its while: by more than a bit."""
        return self.step != 0 and self.cost < self.now - 1


def _constants(system: System, exponents: Exponents) -> dict[tuple[ir.Node, int], Fraction]:
    """Node and input → exponent of the constant there."""
    found = {}
    for node, demanded in system.constants.items():
        for equation in demanded:
            rest = equation.rest(exponents)
            if rest and equation.constant is not None:
                found[node, equation.constant] = -rest / equation.coefficient
    return found


def _scale_epsilons(graph: ir.Graph, values: Mapping[ir.Value, int]) -> None:
    for node in graph:
        epsilon = node.attributes.get("epsilon")
        exponent = values.get(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
        if epsilon is not None and exponent is not None:
            node.attributes["epsilon"] = ir.AttrFloat32("epsilon", math.ldexp(epsilon.as_float(), 2 * exponent))


def _cost(known: Sequence[tuple[TensorRange, float]], step: int) -> float:
    """Sum of squares of how far, in powers of two, each tensor is from where it is at home."""
    levels = [_log2(met.largest) + factor * step for met, factor in known if met.smallest != met.largest]
    return sum(max(0.0, level - HIGH) ** 2 + max(0.0, LOW - level) ** 2 for level in levels if level > -math.inf)


def _allows(met: TensorRange, exponent: float) -> bool:
    """Whether fp32 stays exact, and a single number (a bound, an epsilon) that fp16 holds is still held."""
    if met.largest == 0:
        return True
    low, high = _log2(met.smallest), _log2(met.largest)
    if low == high and low >= _TINY and not _TINY <= low + exponent < 15:
        return False
    return _FP32[0] <= low + exponent and high + exponent <= _FP32[1]


def _log2(number: float) -> float:
    return math.log2(number) if number > 0 else -math.inf
