"""A value as the formula that it is computed by, in words: what a pass must find exactly is one line to compare."""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx
import onnx_ir as ir

from QEfficient.onnx_transforms import weights

LONGEST = 600
"""Characters of a formula. A longer one is none: its value is far from the graph's inputs."""
_SHOWN = 4  # numbers of a constant; a larger one is named


def formula(value: ir.Value | None) -> str:
    """What a value is computed by: ``"Where(Less(position_ids,#ctx_len),position_ids,2147483647)"``.

    Inputs of the graph stand by their names, and sizes of a dim by the dim's with ``#`` before it. Of constants there
    are the numbers, but for large ones, which stand by their names in ``<>``. Attributes that are not the operator's
    default stand behind its name: ``Cast<to=1>(…)``. What is longer than :data:`LONGEST` is ``"…"``.
    """
    return _formula(value, {})


def _formula(value: ir.Value | None, known: dict[int, str]) -> str:
    if value is None:
        return ""
    if id(value) not in known:
        found = _constant(value) or _size(value) or _made(value, known)
        known[id(value)] = found if len(found) <= LONGEST else "…"
    return known[id(value)]


def _constant(value: ir.Value) -> str:
    tensor = weights.constant(value)
    if tensor is None:
        return ""
    if tensor.size > _SHOWN:
        return f"<{value.name}>"
    numbers = [format(number, "g" if isinstance(number, float) else "") for number in tensor.numpy().ravel().tolist()]
    return numbers[0] if not tensor.shape else f"[{','.join(numbers)}]"


def _size(value: ir.Value) -> str:
    """``"#name"``, if the value is one size of another; as a number or as a vector of one, which is all the same."""
    node = value.producer()
    if node is not None and node.op_type == "Squeeze" and not node.domain and node.inputs[0] is not None:
        return _size(node.inputs[0])
    if node is None or node.op_type != "Shape" or node.domain or node.inputs[0] is None or not node.inputs[0].shape:
        return ""
    start, end = (node.attributes.get_int(key, None) for key in ("start", "end"))
    dims = node.inputs[0].shape.dims[start:end]
    return f"#{dims[0]}" if len(dims) == 1 else ""


def _made(value: ir.Value, known: dict[int, str]) -> str:
    node = value.producer()
    if node is None:
        return str(value.name)
    domain = f"{node.domain}::" if node.domain else ""
    shown = _defaults(node.op_type, node.domain)
    given = {name: one.value for name, one in node.attributes.items() if shown.get(name, _NOTHING) != one.value}
    attributes = f"<{','.join(f'{name}={given[name]}' for name in sorted(given))}>" if given else ""
    output = f".{node.outputs.index(value)}" if len(node.outputs) > 1 else ""
    known[id(value)] = "…"  # no formula holds itself, but one that is too long need not be made twice
    inputs = ",".join(_formula(one, known) for one in node.inputs)
    return f"{domain}{node.op_type}{attributes}({inputs}){output}"


_NOTHING = object()


@cache
def _defaults(kind: str, domain: str) -> dict[str, Any]:
    """What ONNX takes attributes of an operator to be where a node does not say."""
    if domain or not onnx.defs.has(kind):
        return {}
    attributes = onnx.defs.get_schema(kind).attributes.values()
    given = [one.default_value for one in attributes if one.default_value.name]
    return {one.name: onnx.helper.get_attribute_value(one) for one in given}
