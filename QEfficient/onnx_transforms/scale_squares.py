"""Keeps the squares of a root-mean-square norm inside fp16's range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values, weights

SMALLEST = 6.2e-5
"""Just above fp16's smallest normal number: the least that a vector is divided by."""

_SCALED = "_scaled"


@dataclass(frozen=True)
class _Norm:
    """``states · 1 / √(mean(states²) + epsilon)``: its nodes, and what it divides by before it squares."""

    square: ir.Node
    mean: ir.Node
    add: ir.Node
    product: ir.Node
    states: ir.Value
    epsilon: ir.TensorProtocol
    axes: ir.Value


class ScaleSquares(ir.passes.InPlacePass):
    """Divides a vector by its greatest entry before a root-mean-square norm squares it.

    The states of language models have entries of hundreds and thousands; 256² is past 65504 already, and then the norm
    gives a vector of zeros. The quotients' squares lie between 0 and 1. ε is divided by the square of the same number,
    so that the result is the same: ``x / √(mean(x²) + ε) = y / √(mean(y²) + (√ε / m)²)`` with ``y = x / m``.

    What is changed is ``Pow`` by 2 (or a product with itself), ``ReduceMean``, ``Add`` of a constant, ``Sqrt``,
    ``Reciprocal`` and the product with the same vector, where no other node reads anything in between. Another form of
    the same formula stays as it is, and so does ``LayerNormalization``, which is one operation.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        return weights.each(model, lambda node: (norm := _norm(node)) is not None and _scale(norm))


def _norm(square: ir.Node) -> _Norm | None:
    states = square.inputs[0] if square.inputs else None
    if states is None or not _squares(square) or _is_scaled(states):
        return None
    chain = match.only_users(square.outputs[0], "ReduceMean", "Add", "Sqrt", "Reciprocal", "Mul")
    if not chain or states not in chain[-1].inputs:
        return None
    mean, add, *_, product = chain
    axes = mean.inputs[1] if len(mean.inputs) > 1 else None
    constants = [found for value in add.inputs if (found := weights.constant(value)) is not None]
    if axes is None or len(constants) != 1 or constants[0].size != 1 or constants[0].numpy().item() <= 0:
        return None
    return _Norm(square, mean, add, product, states, constants[0], axes)


def _squares(node: ir.Node) -> bool:
    if match.is_a(node, "Mul"):
        return node.inputs[0] is node.inputs[1]
    return match.is_a(node, "Pow") and match.scalar(node.inputs[1]) == 2


def _is_scaled(states: ir.Value) -> bool:
    """Whether this pass was here before."""
    node = states.producer()
    return node is not None and node.op_type == "Div" and (states.name or "").endswith(_SCALED)


def _scale(norm: _Norm) -> bool:
    name, dtype = norm.square.outputs[0].name, norm.epsilon.dtype
    size = _add(norm, "Abs", [norm.states], f"{name}_size")
    greatest = _add(norm, "ReduceMax", [size, norm.axes], f"{name}_greatest", keepdims=1)
    least = _constant(norm, np.array(SMALLEST), dtype, f"{name}_least")
    divisor = _add(norm, "Max", [greatest, least], f"{name}_divisor")
    scaled = _add(norm, "Div", [norm.states, divisor], f"{name}{_SCALED}")
    root = _constant(norm, np.sqrt(norm.epsilon.numpy().astype(np.float64).reshape(())), dtype, f"{name}_root_epsilon")
    share = _add(norm, "Div", [root, divisor], f"{name}_share")
    epsilon = _add(norm, "Mul", [share, share], f"{name}_epsilon")
    for node in (norm.square, norm.product):
        for index, value in enumerate(node.inputs):
            if value is norm.states:
                node.replace_input_with(index, scaled)
    for index, value in enumerate(norm.add.inputs):
        if weights.constant(value) is not None:
            norm.add.replace_input_with(index, epsilon)
    return True


def _add(norm: _Norm, kind: str, inputs: list[ir.Value], name: str, **attributes: int) -> ir.Value:
    like = norm.states if norm.states in inputs else norm.mean.outputs[0]
    return _noted(norm, new_values.insert(norm.square, kind, inputs, name, like, **attributes))


def _constant(norm: _Norm, number: np.ndarray, dtype: ir.DataType, name: str) -> ir.Value:
    node = new_values.constant(number.astype(dtype.numpy()), name)
    norm.square.prepend(node)
    return _noted(norm, node.outputs[0])


def _noted(norm: _Norm, made: ir.Value) -> ir.Value:
    """The value, its node noted as one of the square's torch module."""
    node = made.producer()
    assert node is not None
    node.metadata_props.update(norm.square.metadata_props)
    return made
