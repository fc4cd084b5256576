"""Which values of a graph can be multiplied by a power of two so that no result changes.

Each value has an exponent, 0 where nobody touches it. Each operator says in linear equations which exponents go
together: a sum has one for all, those of a product's factors add up, softmax allows 0 only. A constant operand takes
whatever makes its equation true, by being multiplied itself; a layer norm's input is free, since the norm takes any
scale out, once its epsilon is multiplied by the square. Powers of two change no bit of a mantissa, so that the fp32
result is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import onnx_ir as ir

from QEfficient.numerics.outline import SHAPES_ONLY, is_float, reads
from QEfficient.onnx_transforms import match, weights

_SAME = frozenset(
    """Abs Add AveragePool Clip Concat CumSum DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND
    GlobalAveragePool GlobalMaxPool Identity LeakyRelu Max MaxPool Mean Min Neg Pad ReduceL1 ReduceL2 ReduceMax
    ReduceMean ReduceMin ReduceSum Relu Reshape Slice SpaceToDepth Split Squeeze Sub Sum Tile Transpose Unsqueeze
    Where""".split()
)
"""All values that they read and make have one exponent."""
_PRODUCTS = frozenset({"MatMul", "Mul", "Gemm", "Conv", "ConvTranspose"})
_OF_ONE = {"Sqrt": (1, -2), "Reciprocal": (1, 1), "ReduceSumSquare": (2, -1), "Pow": (2, -1), "Cast": (1, -1)}
"""Operators of one value → the factors of its exponent and of the result's; ``Pow`` is by 2, ``Cast`` to a float."""
_NORMS = frozenset({"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"})
_BRANCHES = 200  # choices that one seed may try: what needs more is left to a node-precision file

Exponents = dict[ir.Value, Fraction]


@dataclass(frozen=True, slots=True)
class Equation:
    """Σ coefficient · exponent = 0 over ``values`` and, where there is one, the constant at an input of ``node``."""

    values: Mapping[ir.Value, Fraction]
    constant: int | None = None
    coefficient: Fraction = Fraction(1)

    def rest(self, exponents: Exponents) -> Fraction:
        """The sum over those values whose exponents are known."""
        known = (factor * exponents[value] for value, factor in self.values.items() if value in exponents)
        return sum(known, Fraction(0))

    def unknown(self, exponents: Exponents) -> list[ir.Value]:
        """The others."""
        return [value for value in self.values if value not in exponents]


def equations(node: ir.Node) -> Iterator[Equation]:
    """What ``node`` demands of the exponents of what it reads and makes."""
    made = [value for value in node.outputs if value.name and _counts(value)]
    if node.op_type in SHAPES_ONLY:
        return
    known = node.domain == "" and made and all(value.type is not None for value in made)
    form = _form(node) if known else None
    if form is None:
        yield from _fixed(node)
        return
    terms, others = form
    if terms:
        yield _equation(node, terms)
    yield from (_equation(node, [(index, 1), (made[0], -1)]) for index in others)
    yield from (_equation(node, [(other, 1), (made[0], -1)]) for other in made[1:])


_Term = tuple[int | ir.Value, int]


def _form(node: ir.Node) -> tuple[list[_Term], list[int]] | None:
    """The first equation's terms and the inputs that have the output's exponent; ``None``: only 0 is allowed."""
    out, op, present = node.outputs[0], node.op_type, _present(node)
    if op in _NORMS:
        return ([], present[1:]) if sum(bool(value.uses()) for value in node.outputs) <= 1 else None
    if op in _SAME and present and "max" not in node.attributes and "min" not in node.attributes:
        return [(present[0], 1), (out, -1)], present[1:]
    if op in _PRODUCTS and {0, 1} <= set(present):
        return [(0, 1), (1, 1), (out, -1)], present[2:]
    if op == "Div":
        return [(0, 1), (1, -1), (out, -1)], []
    if not present or (op == "Pow" and match.scalar(node.inputs[1]) != 2):
        return None
    factors = _OF_ONE.get(op)
    return None if factors is None else ([(0, factors[0]), (out, factors[1])], [])


def _counts(value: ir.Value) -> bool:
    """Whether a value is, or may be, one of floating-point numbers."""
    return value.type is None or is_float(value)


def _present(node: ir.Node) -> list[int]:
    return [index for index, value in enumerate(node.inputs) if value is not None and _counts(value)]


def _fixed(node: ir.Node) -> Iterator[Equation]:
    """Nothing that the node and the graphs inside it read, and nothing that it makes, may change."""
    for value in (*reads(node), *node.outputs):
        if value.name and _counts(value) and weights.constant(value) is None:
            yield Equation({value: Fraction(1)})


def _equation(node: ir.Node, terms: list[_Term]) -> Equation:
    values: Exponents = {}
    constant, coefficient = None, Fraction(1)
    for place, factor in terms:
        value = node.inputs[place] if isinstance(place, int) else place
        assert value is not None
        if isinstance(place, int) and weights.constant(value) is not None:
            constant, coefficient = place, Fraction(factor)
        else:
            values[value] = values.get(value, Fraction(0)) + factor
    return Equation(values, constant, coefficient)


class System:
    """The equations of a graph, ready to be solved from one value on."""

    def __init__(self, graph: ir.Graph) -> None:
        self._fixed = {*graph.inputs, *graph.outputs}
        self._of: dict[ir.Value, list[Equation]] = {}
        self.constants: dict[ir.Node, list[Equation]] = {}
        for node in graph:
            for equation in equations(node):
                if equation.constant is not None:
                    self.constants.setdefault(node, []).append(equation)
                    continue
                for value in equation.values:
                    self._of.setdefault(value, []).append(equation)

    def solutions(self, seed: ir.Value) -> Iterator[Exponents]:
        """Exponents with 1 at ``seed``; those of values that are not named are 0.

        Where a product allows several, each factor takes all of it in turn.
        """
        waiting: list[Exponents] = [{seed: Fraction(1)}]
        for _ in range(_BRANCHES):
            if not waiting:
                return
            chosen = self._propagate(waiting.pop())
            if chosen is None:
                continue
            if isinstance(chosen, list):
                waiting += reversed(chosen)
            else:
                yield {value: exponent for value, exponent in chosen.items() if exponent}

    def _propagate(self, exponents: Exponents) -> Exponents | list[Exponents] | None:
        """Everything that follows; ``None``: a contradiction; several: a choice that is open."""
        waiting = [value for value, exponent in exponents.items() if exponent]
        opened: Equation | None = None
        while waiting:
            value = waiting.pop()
            if value in self._fixed:
                return None
            for equation in self._of.get(value, []):
                unknown, rest = equation.unknown(exponents), equation.rest(exponents)
                if not unknown and rest:
                    return None
                if len(unknown) == 1:
                    exponents[unknown[0]] = -rest / equation.values[unknown[0]]
                    if rest:
                        waiting.append(unknown[0])
                elif unknown and rest:
                    opened = equation
        return exponents if opened is None else self._choices(exponents, opened)

    def _choices(self, exponents: Exponents, opened: Equation) -> Exponents | list[Exponents] | None:
        unknown, rest = opened.unknown(exponents), opened.rest(exponents)
        if len(unknown) < 2:  # what was open was decided on the way
            return self._propagate(exponents)
        # the product's own result first: its reader may take the factor out, and nothing else is touched
        unknown.sort(key=lambda value: opened.values[value])
        none = dict.fromkeys(unknown, Fraction(0))
        return [exponents | none | {value: -rest / opened.values[value]} for value in unknown]
