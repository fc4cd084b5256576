"""Keeps the guard of a division from vanishing in fp16."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import new_values, weights

SMALLEST = 2.0**-24  # fp16's smallest number, a subnormal; half of it rounds to zero
_SAME_VALUES = {"Identity", "Expand", "Unsqueeze", "Squeeze", "Reshape", "Transpose"}


class RaiseGuards(ir.passes.InPlacePass):
    """Raises the lower bound of a divisor, such as the 1e-12 of ``normalize``, to fp16's smallest number.

    ``x / Clip(y, min=1e-12)`` and ``x / Max(y, 1e-12)`` guard against 0/0. In fp16 the bound is 0 and the guard is
    gone. The bound is raised to 2⁻²⁴ (6e-8) where the bounded value does nothing but divide: the fp32 result changes
    only for divisors below 6e-8, which no sum of mask weights and no norm of a real vector reaches.

    What stays: a bound with another use (``Log`` of a clipped probability is right down to 1e-12 in fp32), and an
    *added* epsilon (``x / Sqrt(v + 1e-12)``), because raising that one would change every fp32 result.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        return weights.each(model, _raise_bound)


def _raise_bound(node: ir.Node) -> bool:
    """Whether the node had such a bound, which is then raised."""
    index = _bound(node)
    if index is None or not _only_divides(node.outputs[0]):
        return False
    tensor = weights.constant(node.inputs[index])
    assert tensor is not None  # _bound saw it
    # A new Constant node: the old constant may have other uses, and functions hold no initializers.
    name = f"{node.outputs[0].name}_bound"
    made = new_values.constant(np.full(tensor.shape.numpy(), SMALLEST, dtype=tensor.dtype.numpy()), name)
    node.prepend(made)
    node.replace_input_with(index, made.outputs[0])
    return True


def _bound(node: ir.Node) -> int | None:
    """Which input of ``node`` is a lower bound that vanishes in fp16."""
    candidates = {"Clip": (1,), "Max": tuple(range(len(node.inputs)))}.get(node.op_type, ())
    for index in candidates if node.domain == "" else ():
        if index < len(node.inputs):
            tensor = weights.constant(node.inputs[index])
            if tensor is not None and tensor.dtype.is_floating_point() and tensor.size == 1:
                if 0 < tensor.numpy().astype(np.float64).item() < SMALLEST:
                    return index
    return None


def _only_divides(value: ir.Value) -> bool:
    """Whether every use of ``value`` ends as a divisor; moving it about in between is allowed."""
    uses = value.uses()
    if not uses or value.is_graph_output():
        return False
    for node, index in uses:
        divides = (node.op_type, index) in (("Div", 1), ("Reciprocal", 0))
        moves = node.op_type in _SAME_VALUES and index == 0 and _only_divides(node.outputs[0])
        if node.domain != "" or not (divides or moves):
            return False
    return True
