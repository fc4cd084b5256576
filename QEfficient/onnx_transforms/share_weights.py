"""Stores equal weights once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable

import onnx_ir as ir

from QEfficient.onnx_transforms import weights

_HEAD_BYTES = 4096
_Key = Callable[[ir.TensorProtocol], Hashable]


class ShareWeights(ir.passes.InPlacePass):
    """Replaces initializers that are equal in type, shape and bytes by the first of them (tied weights).

    Weights are read in pieces, and only those whose first bytes are equal are read to the end. onnx_ir's own hashing
    pass maps every weight into memory. Initializers are compared within one graph; strings are left alone, and so are
    initializers that are also an input or an output.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        modified = False
        for graph in weights.graphs(model):
            for group in _equal(graph.initializers.values()):
                for value in group[1:]:
                    value.replace_all_uses_with(group[0])
                    assert value.name is not None  # it was found by its name
                    del graph.initializers[value.name]
                    modified = True
        return ir.passes.PassResult(model, modified=modified)


def _equal(values: Iterable[ir.Value]) -> list[list[ir.Value]]:
    groups = _split(filter(_comparable, values), lambda tensor: (tensor.dtype, tuple(tensor.shape)))
    groups = [part for group in groups for part in _split(group, _head)]
    return [part for group in groups for part in _split(group, _digest)]


def _comparable(value: ir.Value) -> bool:
    tensor = value.const_value
    return not (value.is_graph_input() or value.is_graph_output() or tensor is None or tensor.dtype.is_string())


def _split(values: Iterable[ir.Value], key: _Key) -> list[list[ir.Value]]:
    """Groups of two and more values with an equal key, in order of their first."""
    groups: dict[Hashable, list[ir.Value]] = {}
    for value in values:
        if value.const_value is not None:
            groups.setdefault(key(value.const_value), []).append(value)
    return [group for group in groups.values() if len(group) > 1]


def _head(tensor: ir.TensorProtocol) -> bytes:
    for block in weights.blocks(tensor, _HEAD_BYTES):
        return block.tobytes()
    return b""


def _digest(tensor: ir.TensorProtocol) -> str:
    digest = hashlib.sha256()
    for block in weights.blocks(tensor):
        digest.update(block.tobytes())
    return digest.hexdigest()
