"""What passes ask of the nodes around a node; ``None`` is "not so"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from QEfficient.onnx_transforms import weights

T = TypeVar("T")


def modern(model: ir.Model) -> bool:
    """Whether operators mean what they do since opset 13; ``Softmax`` was another function before."""
    return (model.graph.opset_imports.get("") or 0) >= 13


def same(first: Iterable[int | ir.SymbolicDimProtocol], second: Iterable[int | ir.SymbolicDimProtocol]) -> bool:
    """Whether sizes are equal for certain: a dim without a name may be any."""
    one, other = list(first), list(second)
    return one == other and all(isinstance(dim, int) or dim.value is not None for dim in one)


def is_a(node: ir.Node | None, kind: str) -> bool:
    """Whether a node is one of ONNX' own operators, of this kind."""
    return node is not None and (node.domain, node.op_type) == ("", kind)


def made_by(value: ir.Value | None, kind: str, *, shared: bool = False) -> ir.Node | None:
    """The node that made a value, if it is of this kind and, unless it may be shared, nothing else reads the value."""
    node = value.producer() if value is not None else None
    if value is None or node is None or not is_a(node, kind):
        return None
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    return node if shared or alone else None


def only_user(value: ir.Value, kind: str) -> ir.Node | None:
    """The one node that reads a value, if it is of this kind."""
    users = [user for user, _ in value.uses()]
    alone = len(users) == 1 and not value.is_graph_output()
    return users[0] if alone and is_a(users[0], kind) else None


def only_users(value: ir.Value, *kinds: str) -> list[ir.Node]:
    """The one node that reads a value, the one that reads its result, and so on; empty where one is of another kind."""
    found: list[ir.Node] = []
    for kind in kinds:
        user = only_user(value, kind)
        if user is None:
            return []
        found.append(user)
        value = user.outputs[0]
    return found


def both_ways(node: ir.Node | None) -> list[tuple[ir.Value | None, ir.Value | None]]:
    """The two inputs of a node whose order does not matter, in both orders."""
    return [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])] if node is not None else []


def sum_with(value: ir.Value | None, wanted: Callable[[ir.Value | None], T | None]) -> tuple[T, ir.Value] | None:
    """Of the two parts of a sum: what is wanted of the one, and the other."""
    for one, other in both_ways(made_by(value, "Add")):
        found = wanted(one)
        if found is not None and other is not None:
            return found, other
    return None


def perm(node: ir.Node) -> list[int]:
    """How a ``Transpose`` orders the dims; empty where it does not say."""
    return list(node.attributes.get_ints("perm", ()))


def is_matrix(value: ir.Value) -> bool:
    """Whether a value is a constant of two dims in float32."""
    tensor = weights.constant(value)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) == 2


def vector(value: ir.Value | None) -> int | None:
    """The size of a constant of one dim in float32."""
    tensor = weights.constant(value)
    return tensor.size if tensor is not None and tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) == 1 else None


def numbers(value: ir.Value | None) -> NDArray[np.float64]:
    """What a value that is known to be a constant holds."""
    tensor = weights.constant(value)
    assert tensor is not None
    return np.asarray(tensor.numpy(), dtype=np.float64)


def scalar(value: ir.Value | None) -> float | None:
    """The number of a constant that holds one."""
    tensor = weights.constant(value)
    return float(tensor.numpy().item()) if tensor is not None and tensor.size == 1 else None
