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
        found = [norm for node in list(weights.nodes(model)) if (norm := _norm(node)) is not None]
        for norm in found:
            _scale(norm)
        return ir.passes.PassResult(model, modified=bool(found))


def _norm(square: ir.Node) -> _Norm | None:
    states = square.inputs[0] if square.inputs else None
    if states is None or not _squares(square) or _is_scaled(states):
        return None
    mean = match.only_user(square.outputs[0], "ReduceMean")
    add = mean and match.only_user(mean.outputs[0], "Add")
    root = add and match.only_user(add.outputs[0], "Sqrt")
    inverse = root and match.only_user(root.outputs[0], "Reciprocal")
    product = inverse and match.only_user(inverse.outputs[0], "Mul")
    if mean is None or add is None or product is None or states not in product.inputs:
        return None
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


def _scale(norm: _Norm) -> None:
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


def _add(norm: _Norm, kind: str, inputs: list[ir.Value], name: str, **attributes: int) -> ir.Value:
    like = norm.states if norm.states in inputs else norm.mean.outputs[0]
    output = ir.Value(name=name, type=like.type, shape=like.shape)
    return _placed(norm, ir.node(kind, inputs, attributes, outputs=[output], name=f"node_{name}"))


def _constant(norm: _Norm, number: np.ndarray, dtype: ir.DataType, name: str) -> ir.Value:
    return _placed(norm, new_values.constant(number.astype(dtype.numpy()), name))


def _placed(norm: _Norm, node: ir.Node) -> ir.Value:
    """Puts a node before the square, as one of the same torch module."""
    graph = norm.square.graph
    assert graph is not None  # the walk over the model found it in one
    node.metadata_props.update(norm.square.metadata_props)
    graph.insert_before(norm.square, node)
    return node.outputs[0]
