"""Types and shapes of what one node gives, from onnx's own shape inference."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx_ir as ir
from onnx.shape_inference import InferenceError, infer_node_outputs

from QEfficient.numerics.steps import Dims, Step, Tensor


def inferred(step: Step, opsets: Mapping[str, int]) -> dict[str, tuple[ir.DataType, Dims | None]]:
    """Output name → type and shape, as far as onnx's shape inference knows them."""
    proto = step.proto
    try:
        schema = onnx.defs.get_schema(proto.op_type, opsets.get(proto.domain, 1), proto.domain)
        given = zip(proto.input, step.inputs, strict=True)
        known = {name: tensor for name, tensor in given if tensor is not None}
        types = {name: _type_of(tensor) for name, tensor in known.items()}
        data = {
            name: onnx.numpy_helper.from_array(tensor.value, name)
            for name, tensor in known.items()
            if tensor.value is not None
        }
        imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
        found = infer_node_outputs(schema, proto, types, data, opset_imports=imports)
    except (onnx.defs.SchemaError, InferenceError):  # another maker's operator, or shapes that do not go together
        return {}
    return {name: _shape_of(kind) for name, kind in found.items()}


def _type_of(tensor: Tensor) -> onnx.TypeProto:
    """A tensor's type as onnx has it."""
    shape = None if tensor.shape is None else list(tensor.shape)
    return onnx.helper.make_tensor_type_proto(int(tensor.dtype), shape)


def _shape_of(kind: onnx.TypeProto) -> tuple[ir.DataType, Dims | None]:
    """Element type and shape of onnx's type; no shape where one dim is free, or it is not a tensor."""
    if not kind.HasField("tensor_type"):
        return ir.DataType.UNDEFINED, None
    tensor = kind.tensor_type
    dims = tensor.shape.dim
    known = tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
    return ir.DataType(tensor.elem_type), tuple(dim.dim_value for dim in dims) if known else None
