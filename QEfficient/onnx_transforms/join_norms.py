"""Makes one operator of a root-mean-square norm, for onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from QEfficient.onnx_transforms import match
from QEfficient.onnx_transforms.formulas import formula

OPERATOR = "SimplifiedLayerNormalization"
"""onnxruntime's name. It stands in ONNX' own domain, where ONNX does not know it, or in onnxruntime's."""


class JoinNorms(ir.passes.InPlacePass):
    """Makes onnxruntime's ``SimplifiedLayerNormalization`` of ``weight · states / √(mean(states²) + ε)``.

    Both as it is exported and as ``ScaleSquares`` leaves it, whose detour keeps fp16 in range: fp32 needs none. It is
    one node for 14, of which a decoder has two in every layer.

    Args:
        domain: Where the reader of the graph looks for it: onnxruntime in ONNX' own, OpenVINO in onnxruntime's.
    """

    def __init__(self, domain: str = "") -> None:
        super().__init__()
        self._domain = domain

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        modified = False
        for node in list(model.graph):
            if match.is_a(node, "Mul") and (found := _norm(node)) is not None:
                _join(node, found, self._domain)
                modified = True
        if modified and self._domain:
            model.graph.opset_imports[self._domain] = 1
        return ir.passes.PassResult(model, modified=modified)


@dataclass(frozen=True)
class _Norm:
    states: ir.Value
    weight: ir.Value
    epsilon: float


def _norm(result: ir.Node) -> _Norm | None:
    for normed, weight in match.both_ways(result):
        if (size := match.vector(weight)) is None or weight is None:
            continue
        for scaled, factor in match.both_ways(match.made_by(normed, "Mul")):
            mean = _mean_of_squares(factor, scaled)
            if scaled is None or mean is None:
                continue
            states, epsilon = _unscaled(scaled, mean)
            if states is None or epsilon is None or states.dtype != ir.DataType.FLOAT:
                return None
            fits = states.shape is not None and states.shape[-1] == size
            return _Norm(states, weight, epsilon) if fits else None
    return None


def _mean_of_squares(factor: ir.Value | None, states: ir.Value | None) -> ir.Value | None:
    """The ε of a factor ``1 / √(mean(states²) + ε)``."""
    inverse = match.made_by(factor, "Reciprocal")
    root = match.made_by(inverse.inputs[0], "Sqrt") if inverse is not None else None
    for average, epsilon in match.both_ways(match.made_by(root.inputs[0], "Add") if root is not None else None):
        mean = match.made_by(average, "ReduceMean")
        if mean is None or len(mean.inputs) != 2 or formula(mean.inputs[1]) != "[-1]":
            continue
        if mean.attributes.get_int("keepdims", 1) == 1 and _is_square(mean.inputs[0], states):
            return epsilon
    return None


def _is_square(value: ir.Value | None, states: ir.Value | None) -> bool:
    power, product = match.made_by(value, "Pow"), match.made_by(value, "Mul")
    if power is not None:
        return power.inputs[0] is states and match.scalar(power.inputs[1]) == 2
    return product is not None and product.inputs[0] is states and product.inputs[1] is states


def _unscaled(scaled: ir.Value, epsilon: ir.Value) -> tuple[ir.Value | None, float | None]:
    """The states and their ε, whether or not they were divided by their largest entry before."""
    number = match.scalar(epsilon)
    if number is not None:
        return (scaled, number) if number > 0 else (None, None)
    divided, share = match.made_by(scaled, "Div", shared=True), match.made_by(epsilon, "Mul")
    if divided is None or share is None or share.inputs[0] is not share.inputs[1]:
        return None, None
    states, divisor = divided.inputs
    part = match.made_by(share.inputs[0], "Div", shared=True)
    root = match.scalar(part.inputs[0]) if part is not None else None
    if part is None or root is None or part.inputs[1] is not divisor or not _is_greatest(divisor, states):
        return None, None
    return states, root * root


def _is_greatest(divisor: ir.Value | None, states: ir.Value | None) -> bool:
    """Whether a divisor is the largest entry of the states, or a little number above 0."""
    for greatest, least in match.both_ways(match.made_by(divisor, "Max", shared=True)):
        number, largest = match.scalar(least), match.made_by(greatest, "ReduceMax")
        if number is None or number <= 0 or largest is None or len(largest.inputs) != 2:
            continue
        size = match.made_by(largest.inputs[0], "Abs")
        keeps = largest.attributes.get_int("keepdims", 1) == 1 and formula(largest.inputs[1]) == "[-1]"
        return keeps and size is not None and size.inputs[0] is states
    return False


def _join(result: ir.Node, found: _Norm, domain: str) -> None:
    value = result.outputs[0]
    name, value.name = value.name, None
    made = ir.Value(name=name, type=value.type, shape=value.shape)
    attributes = {"axis": -1, "epsilon": found.epsilon, "stash_type": 1}
    inputs = [found.states, found.weight]
    node = ir.node(OPERATOR, inputs, attributes, domain=domain, outputs=[made], name=f"{name}_norm")
    node.metadata_props.update(result.metadata_props)
    result.prepend(node)
    value.replace_all_uses_with(made, replace_graph_outputs=True)
