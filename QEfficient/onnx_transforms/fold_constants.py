"""Computes once what every run would compute from constants alone."""

from __future__ import annotations

import math

import onnx_ir as ir
from onnxscript import optimizer

LIMIT = 2**16
"""Greatest number of elements of an input and of the result."""


class FoldConstants(ir.passes.InPlacePass):
    """Replaces nodes that depend on constants only by their value, in subgraphs and functions too.

    The work is done by onnxscript's folding, which also propagates shapes and removes a ``Reshape`` or ``Expand`` to
    the same shape. That one looks at a result's size after computing it and always folds a ``Transpose``; here a node
    is folded only if the size of its inputs and result is known to be small beforehand, so that neither memory nor
    the file can blow up. The exporter has folded the transposes of weights already.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        result = optimizer.fold_constants_ir(
            model,
            onnx_shape_inference=True,
            input_size_limit=LIMIT,
            output_size_limit=LIMIT,
            should_fold=_should_fold,
        )
        return ir.passes.PassResult(model, modified=result.modified)


def _should_fold(node: ir.Node) -> bool | None:
    """``False`` forbids; ``None`` leaves the choice to onnxscript's own rules."""
    small = all(value is None or _size(value) <= LIMIT for value in (*node.inputs, *node.outputs))
    return None if small else False


def _size(value: ir.Value) -> float:
    """Number of elements; infinite where it is not known."""
    shape = value.const_value.shape if value.const_value is not None else value.shape
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return math.inf
    return math.prod(dim for dim in shape if isinstance(dim, int))
