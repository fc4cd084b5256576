"""Brings constants that stand for infinity into fp16's range."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from QEfficient.errors import NumericsError
from QEfficient.onnx_transforms import new_values, weights

# Largest value that fp16 holds, rounded towards zero where the type itself is coarser.
LIMITS = {
    ir.DataType.FLOAT: 65504.0,
    ir.DataType.DOUBLE: 65504.0,
    ir.DataType.FLOAT16: 65504.0,
    ir.DataType.BFLOAT16: 65280.0,
}
# No trained weight is this large; masks use -1e9, -1e30, torch.finfo(...).min and -inf.
FILL = 1e9
# What a mask's fill becomes. Two of them are added up where a causal mask meets a padding mask, and a score of up to
# ±5500 on top: at -65504 either sum is -Inf in fp16, and a row that is masked everywhere (padding itself) NaN.
MASKED = -30000.0


class ClampToFp16(ir.passes.InPlacePass):
    """Clamps constants that stand for infinity; the card would turn them into Inf, and a mask into NaN.

    Looks at floating-point initializers (of subgraphs too), and at ``Constant`` and ``ConstantOfShape`` nodes (of
    functions too). Beyond fp16's range there are two kinds of number:

    - a *fill* is ±Inf, anything of 1e9 or more, or a lone negative number. It is clamped, to -30000 or 65504. Behind
      a softmax or as a bound, the fp32 result stays the same, because no score comes near;
    - a *quantity* is any other number, such as a weight of 70000. Clamping would change the model's fp32 numbers, so
      it stays, and a warning names it: the fp32 program is right, and verification of an fp16 program will fail.

    Attributes of other nodes stay, among them the ``epsilon`` of ``LayerNormalization``.

    Raises:
        NumericsError: A constant holds NaN; names the tensor and the torch module that uses it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        self._quantities: list[str] = []
        modified = False
        for graph in weights.graphs(model):
            for value in graph.initializers.values():
                clamped = self._clamped(value.const_value, value)
                if clamped is not None:
                    value.const_value = clamped
                    modified = True
        for node in weights.nodes(model):
            modified |= self._clamp_node(node)
        if self._quantities:
            warnings.warn(
                f"{len(self._quantities)} constant(s) are beyond fp16's range of ±65504 and do not look like a mask: "
                f"{', '.join(self._quantities[:5])}. They are kept, so fp32 stays right; on the card they become Inf.",
                stacklevel=2,
            )
        return ir.passes.PassResult(model, modified=modified)

    def _clamp_node(self, node: ir.Node) -> bool:
        modified = False
        for attribute in _constant_attributes(node):
            clamped = self._clamped(_as_tensor(attribute), node.outputs[0])
            if clamped is not None:
                node.attributes[attribute.name] = _like(attribute, clamped)
                modified = True
        return modified

    def _clamped(self, tensor: ir.TensorProtocol | None, value: ir.Value) -> ir.TensorProtocol | None:
        """The clamped tensor; ``None`` when there is nothing to clamp."""
        if tensor is None or tensor.dtype not in LIMITS or not tensor.size:
            return None
        limit = LIMITS[tensor.dtype]
        low, high = _range(tensor)
        if np.isnan(low) or np.isnan(high):
            raise NumericsError(
                "A weight holds NaN.",
                got=_where(value),
                allowed="finite numbers",
                do="check the checkpoint: load it with transformers, look at this parameter; else download it again",
            )
        if max(high, -low) <= limit:
            return None
        threshold = limit if tensor.size == 1 and low < 0 else FILL
        if any(np.any(_quantities(block, limit, threshold)) for block in weights.blocks(tensor)):
            self._quantities.append(_where(value))
        if max(high, -low) < threshold:
            return None
        return new_values.changed(tensor, lambda array: _clamp(array, limit, threshold), tensor.name)


def _constant_attributes(node: ir.Node) -> Iterator[ir.Attr]:
    if node.domain == "" and node.op_type in ("Constant", "ConstantOfShape"):
        for attribute in list(node.attributes.values()):
            if not attribute.is_ref() and attribute.name in ("value", "value_float", "value_floats"):
                yield attribute


def _as_tensor(attribute: ir.Attr) -> ir.TensorProtocol:
    if attribute.type == ir.AttributeType.TENSOR:
        return attribute.as_tensor()
    return ir.tensor(np.asarray(attribute.value, dtype=np.float32))


def _like(attribute: ir.Attr, tensor: ir.TensorProtocol) -> ir.Attr:
    if attribute.type == ir.AttributeType.TENSOR:
        return ir.AttrTensor(attribute.name, tensor)
    return ir.convenience.convert_attribute(attribute.name, tensor.numpy().tolist(), attribute.type)


def _range(tensor: ir.TensorProtocol) -> tuple[float, float]:
    """Least and greatest number; NaN where one is."""
    low, high = np.inf, -np.inf
    for block in weights.blocks(tensor):
        numbers: NDArray[Any] = block
        # numpy's min and max carry NaN along; Python's do not, hence np.minimum.
        low, high = np.minimum(low, float(np.min(numbers))), np.maximum(high, float(np.max(numbers)))
    return float(low), float(high)


def _magnitude(array: NDArray[np.generic]) -> NDArray[np.floating]:
    # Not in fp16 or bf16 themselves: the first can't hold 1e9, the second is too coarse.
    magnitude: NDArray[np.floating] = np.abs(array.astype(np.result_type(array.dtype, np.float32), copy=False))
    return magnitude


def _quantities(block: NDArray[np.generic], limit: float, threshold: float) -> NDArray[np.bool_]:
    size = _magnitude(block)
    return (size > limit) & (size < threshold)


def _clamp(array: NDArray[np.generic], limit: float, threshold: float) -> NDArray[np.generic]:
    clipped = np.clip(array, array.dtype.type(MASKED), array.dtype.type(limit))
    return np.where(_magnitude(array) >= threshold, clipped, array)


def _where(value: ir.Value) -> str:
    path = weights.module_path(value)
    return f"{value.name!r} (module {path!r})" if path else f"{value.name!r}"
