"""Leaves out additions of a bias that a layer norm can make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from QEfficient.onnx_transforms import match, new_values, weights


class MoveBiases(ir.passes.InPlacePass):
    """Leaves out the bias before a residual sum: the layer norm on the sum's other side takes it into its own.

    With ``x`` the norm's result, the sum ``x + (h·V + b)`` is ``(x + b) + h·V``; and what reads ``x`` beside the sum,
    ``x·W + c``, is ``(x + b)·W + (c - b·W)``. That takes two additions out of a layer. It is done where the norm has no
    other readers, which is so in BERT and its kin.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        modified = False
        names = new_values.Names(model)
        for node in list(model.graph):
            if node.op_type == "LayerNormalization" and (found := _residual(node)) is not None:
                _move(model.graph, node, found, names)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


@dataclass(frozen=True)
class _Residual:
    """The sum with a bias that gets the norm's result, and the linear layers that read it too."""

    total: ir.Node
    product: ir.Value
    bias: ir.Value
    linears: tuple[tuple[ir.Value, ir.Node, ir.Value], ...]  # weight; the node that adds the bias; the bias


def _residual(norm: ir.Node) -> _Residual | None:
    states = norm.outputs[0]
    if len(norm.inputs) != 3 or match.vector(norm.inputs[2]) is None or states.is_graph_output():
        return None
    sums, linears = [], []
    for user, place in states.uses():
        if user.op_type == "Add" and user.domain == "":
            sums.append((user, match.sum_with(user.inputs[1 - place], _product_of)))
            continue
        weight = user.inputs[1] if user.op_type == "MatMul" and place == 0 else None
        biased = match.only_user(user.outputs[0], "Add")
        bias = next((v for v in biased.inputs if match.vector(v) is not None), None) if biased is not None else None
        if weight is None or biased is None or bias is None or not match.is_matrix(weight):
            return None
        linears.append((weight, biased, bias))
    if len(sums) != 1 or sums[0][1] is None:
        return None
    total, (product, bias) = sums[0][0], sums[0][1]
    made = product.producer()
    if made is None or states in made.inputs:  # h is x itself: its bias is one of the linear layers' too
        return None
    fits = match.vector(bias) is not None and match.vector(bias) == match.vector(norm.inputs[2])
    return _Residual(total, product, bias, tuple(linears)) if fits else None


def _move(graph: ir.Graph, norm: ir.Node, found: _Residual, names: new_values.Names) -> None:
    moved = match.numbers(found.bias)
    name = names.new(f"{norm.outputs[0].name}_bias")
    norm.replace_input_with(2, _initializer(graph, norm.inputs[2], moved, name))
    for weight, biased, bias in found.linears:
        name = names.new(f"{biased.outputs[0].name}_bias")
        changed = _initializer(graph, bias, -_times(moved, weight), name)
        biased.replace_input_with(biased.inputs.index(bias), changed)
    place = 1 - found.total.inputs.index(norm.outputs[0])
    with_bias = found.total.inputs[place]
    found.total.replace_input_with(place, found.product)
    if with_bias is not None and (left := with_bias.producer()) is not None:
        graph.remove(left, safe=True)


def _initializer(graph: ir.Graph, old: ir.Value | None, more: NDArray[np.float64], name: str) -> ir.Value:
    """An initializer for this one node, with something added."""
    return new_values.initializer(graph, (match.numbers(old) + more).astype(np.float32), name)


def _times(vector: NDArray[np.float64], weight: ir.Value) -> NDArray[np.float64]:
    """``vector · weight``, with the weight read in pieces."""
    tensor = weights.constant(weight)
    assert tensor is not None
    columns = tensor.shape.numpy()[1]
    rows = max(1, weights.BLOCK_BYTES // (4 * columns))
    total, done = np.zeros(columns), 0
    for block in weights.blocks(tensor, rows * columns * 4):
        piece = block.reshape(-1, columns).astype(np.float64)
        total += vector[done : done + len(piece)] @ piece
        done += len(piece)
    return total


def _product_of(value: ir.Value | None) -> ir.Value | None:
    """The value, if it is a product that nothing else reads."""
    return value if match.made_by(value, "MatMul") is not None else None
