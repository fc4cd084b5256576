"""Products with weights of few bits in one operator, which multiplies by the weights as they are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values, weights

DOMAIN, OPERATOR = "com.microsoft", "MatMulNBits"

FP32, INT8 = 1, 4
"""The operator's levels: what it multiplies the weights by, turned back in registers, or rounded to int8."""

_LEAST_GROUP = 16
_TURNED = [1, 0]


class NarrowProducts(ir.passes.InPlacePass):
    """Makes onnxruntime's ``MatMulNBits`` of a product with what turns its weights back.

    That is what ``compress.group_weights`` writes: codes by output with a step for each group of inputs. The operator
    reads the same bytes of the same file. Weights that it can't multiply by keep their nodes, which the runtime turns
    back when it loads the graph.

    Args:
        level: :data:`FP32` or :data:`INT8`. Products by 8 bits in fp32 keep their nodes: the operator of onnxruntime
            1.32 turns such weights back in each run, 180 ms for a head of 49,152 × 576 that takes 8 in fp32.
    """

    def __init__(self, level: int) -> None:
        self._level = level

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        names = new_values.Names(model)
        found = [(node, weight) for node in weights.nodes(model) if (weight := _weight(node)) is not None]
        found = [(node, weight) for node, weight in found if weight.bits == 4 or self._level == INT8]
        made: dict[ir.Value, list[ir.Value]] = {}
        for node, weight in found:
            if weight.codes not in made:
                made[weight.codes] = _operands(model.graph, weight, names)
            _replace(node, weight, made[weight.codes], self._level)
        if found:
            model.graph.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, modified=bool(found))


@dataclass(frozen=True)
class _Weight:
    """Codes ``(outputs, inputs)``, and a step and a zero for each group of inputs, ``(outputs, groups)``."""

    codes: ir.Value
    step: ir.Value
    zero: ir.Value
    bits: int
    group: int


def _weight(node: ir.Node) -> _Weight | None:
    """What a product is multiplied by, where that has few bits."""
    if match.is_a(node, "MatMul"):
        turned = match.made_by(node.inputs[1], "Transpose", shared=True)
        back = match.made_by(turned.inputs[0], "DequantizeLinear", shared=True) if turned is not None else None
        if turned is None or (match.perm(turned) or _TURNED) != _TURNED:
            return None
    elif match.is_a(node, "Gemm"):
        if (node.attributes.get_int("transA", 0), node.attributes.get_int("transB", 0)) != (0, 1):
            return None
        if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return None
        back = match.made_by(node.inputs[1], "DequantizeLinear", shared=True)
        if len(node.inputs) > 2 and node.inputs[2] is not None and match.vector(node.inputs[2]) is None:
            return None
    else:
        return None
    if back is None or len(back.inputs) < 3 or back.attributes.get_int("axis", None) != 1:
        return None
    codes, step, zero = (one if weights.constant(one) is not None else None for one in back.inputs)
    group = back.attributes.get_int("block_size", 0) or 0
    if codes is None or step is None or zero is None or group < _LEAST_GROUP or group & (group - 1):
        return None
    bits = {ir.DataType.UINT4: 4, ir.DataType.UINT8: 8}.get(codes.dtype or ir.DataType.UNDEFINED)
    return _Weight(codes, step, zero, bits, group) if bits is not None else None


def _operands(graph: ir.Graph, weight: _Weight, names: new_values.Names) -> list[ir.Value]:
    """The same bytes in the operator's shapes."""
    codes, step, zero = (weights.constant(one) for one in (weight.codes, weight.step, weight.zero))
    assert codes is not None and step is not None and zero is not None
    outputs, groups = step.shape.numpy()
    bytes_of_group = weight.group * weight.bits // 8
    even = _rows_end_with_bytes(zero, weight.bits)
    parts = (
        ("codes", _as(codes, ir.DataType.UINT8, (outputs, groups, bytes_of_group))),
        ("step", _as(step, ir.DataType.FLOAT, (outputs * groups,))),
        ("zero", _as(even, ir.DataType.UINT8, (outputs * (-(-groups * weight.bits // 8)),))),
    )
    return [
        new_values.initializer(graph, tensor, names.new(f"{weight.codes.name}_packed_{what}")) for what, tensor in parts
    ]


def _rows_end_with_bytes(zero: ir.TensorProtocol, bits: int) -> ir.TensorProtocol:
    """Zeros of which each row begins with a byte: of 4 bits there are two in one."""
    if bits == 8 or zero.shape.numpy()[1] % 2 == 0:
        return zero
    numbers = np.pad(zero.numpy().astype(np.uint8), ((0, 0), (0, 1)))
    return ir.tensor(numbers[:, 0::2] | (numbers[:, 1::2] << 4))


def _as(tensor: ir.TensorProtocol, dtype: ir.DataType, shape: tuple[int, ...]) -> ir.TensorProtocol:
    """A tensor's bytes under another type and shape; those of a file stay there."""
    if isinstance(tensor, ir.ExternalTensor):
        place = (tensor.location, tensor.offset, tensor.length, dtype)
        return ir.ExternalTensor(*place, shape=ir.Shape(shape), name=tensor.name or "", base_dir=tensor.base_dir)
    return ir.Tensor(np.frombuffer(tensor.tobytes(), dtype.numpy()).reshape(shape), dtype=dtype)


def _replace(product: ir.Node, weight: _Weight, operands: list[ir.Value], level: int) -> None:
    result, states = product.outputs[0], product.inputs[0]
    outputs, inputs = weight.codes.const_value.shape.numpy()  # type: ignore[union-attr]
    bias = product.inputs[2] if len(product.inputs) > 2 else None
    inputs_of = [states, *operands, *([None, bias] if bias is not None else [])]
    attributes = {"K": inputs, "N": outputs, "bits": weight.bits, "block_size": weight.group, "accuracy_level": level}
    name, result.name = result.name, None
    made = ir.Value(name=name, type=result.type, shape=result.shape)
    node = ir.node(OPERATOR, inputs_of, attributes, domain=DOMAIN, outputs=[made], name=f"{name}_narrow")
    node.metadata_props.update(product.metadata_props)
    product.prepend(node)
    result.replace_all_uses_with(made, replace_graph_outputs=True)
    assert product.graph is not None
    product.graph.remove(product, safe=True)
