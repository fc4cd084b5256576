"""Torch's decompositions are run only where a graph needs them.

Before it translates a graph, the exporter runs torch's decompositions over it: the whole model is traced twice more,
which takes two fifths of the time of an export. Most graphs have nothing to decompose but casts, a few operators that
another one says in the same words, and writes into memory that nobody else reads; these are renamed here, in place.
Whatever needs more goes the exporter's way.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

_PASSES = "torch.onnx._internal.exporter._fx_passes"
_DECOMPOSE = "decompose_with_registry"  # (exported program, registry of ONNX functions) → exported program

_ATEN = torch.ops.aten
_ONNX = "onnx_symbolic"  # a node of ONNX that the traced code asked for by name
_ASSERTIONS = (_ATEN._assert_scalar.default, _ATEN._assert_tensor_metadata.default)  # the exporter drops them as well


def _cast(node: Node) -> None:
    node.args, node.kwargs = node.args[:1], {"dtype": node.meta["val"].dtype}


def _as_it_is(node: Node) -> None:
    """The other operator takes the same arguments."""


def _reversed(node: Node) -> None:
    alpha = dict(zip(("alpha",), node.args[2:], strict=False))  # by position there, by name only in what follows
    node.args, node.kwargs = (node.args[1], node.args[0]), alpha | node.kwargs


def _squared(node: Node) -> None:
    node.args = (node.args[0], 2)


def _reshaped(node: Node) -> None:
    node.args = (node.args[0], [dim if isinstance(dim, int) else -1 for dim in node.meta["val"].shape])


_SAME: dict[OpOverload, tuple[OpOverload, Callable[[Node], None]]] = {
    _ATEN.to.dtype: (_ATEN._to_copy.default, _cast),
    _ATEN.to.dtype_layout: (_ATEN._to_copy.default, _cast),
    _ATEN.to.device: (_ATEN._to_copy.default, _cast),
    _ATEN.__and__.Tensor: (_ATEN.bitwise_and.Tensor, _as_it_is),
    _ATEN.__or__.Tensor: (_ATEN.bitwise_or.Tensor, _as_it_is),
    _ATEN.rsub.Scalar: (_ATEN.sub.Tensor, _reversed),
    _ATEN.square.default: (_ATEN.pow.Tensor_Scalar, _squared),
    _ATEN.flatten.using_ints: (_ATEN.reshape.default, _reshaped),  # its own ONNX function makes more nodes
    _ATEN.min.other: (_ATEN.minimum.default, _as_it_is),
    _ATEN.max.other: (_ATEN.maximum.default, _as_it_is),
    _ATEN.clip.default: (_ATEN.clamp.default, _as_it_is),
    # These write into their first argument.
    _ATEN.add_.Tensor: (_ATEN.add.Tensor, _as_it_is),
    _ATEN.sub_.Tensor: (_ATEN.sub.Tensor, _as_it_is),
    _ATEN.mul_.Tensor: (_ATEN.mul.Tensor, _as_it_is),
    _ATEN.div_.Tensor: (_ATEN.div.Tensor, _as_it_is),
    _ATEN.clamp_.default: (_ATEN.clamp.default, _as_it_is),
    _ATEN.detach_.default: (_ATEN.detach.default, _as_it_is),
}
"""Operator → another one that says the same, and how its arguments change."""


@contextmanager
def only_where_needed() -> Iterator[None]:
    """While it is entered, an export decomposes only what needs it. One thread at a time."""
    passes: Any = importlib.import_module(_PASSES)
    torchs_own = getattr(passes, _DECOMPOSE, None)
    if torchs_own is None:  # another torch: its own way, at its own pace
        yield
        return

    def decompose(program: Any, registry: Any) -> Any:
        return program if _rename(program.graph_module, registry.is_registered) else torchs_own(program, registry)

    setattr(passes, _DECOMPOSE, decompose)
    try:
        yield
    finally:
        setattr(passes, _DECOMPOSE, torchs_own)


def _rename(module: GraphModule, has_function: Callable[[Any], bool]) -> bool:
    """Makes every operator one that has an ONNX function; ``False``, with nothing changed, where that takes more."""
    if any(part is not module for part in module.modules()):
        return False  # control flow: graphs within the graph
    dropped, renamed = [], []
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in _ASSERTIONS:
            dropped.append(node)
        elif node.target in _SAME:
            if _SAME[node.target][1] is _reshaped and _free_dims(node) > 1:
                return False
            if node.target._schema.is_mutable and not _writes_unread(node):
                return False
            renamed.append(node)
        elif isinstance(node.target, OpOverload) and node.target.namespace == _ONNX:
            continue
        elif isinstance(node.target, OpOverload) and (node.target._schema.is_mutable or not has_function(node.target)):
            return False
        elif isinstance(node.target, FunctionType) and not has_function(node.target):
            return False  # what a vmap leaves in a trace, as Gemma 3's mask with windows in both directions does
    for node in dropped:
        _erase(node)
    for node in renamed:
        node.target, change = _SAME[node.target]
        change(node)
    module.recompile()
    return True


def _writes_unread(node: Node) -> bool:
    """Whether nobody but the node reads the memory that it writes into, and its result's type is the inputs' own."""
    written = node.args[0]
    types = {getattr(each.meta["val"], "dtype", None) for each in (node, *node.all_input_nodes)}  # a size has none
    return isinstance(written, Node) and list(written.users) == [node] and _has_own_memory(written) and len(types) == 1


def _has_own_memory(node: Node) -> bool:
    """Whether a node's result is no view of an argument. What is a composite of others does not say."""
    target = node.target
    if not isinstance(target, OpOverload):
        return False
    if target._schema.is_mutable:
        return target in _SAME  # and was found to write what nobody else reads
    composite = target.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd)
    return not composite and all(value.alias_info is None for value in target._schema.returns)


def _erase(node: Node) -> None:
    """Erases a node, and what only it read. Torch's own search for dead code stumbles over graphs that torch made."""
    read = node.all_input_nodes
    node.graph.erase_node(node)
    for each in read:
        if each.op == "call_function" and not each.users:
            _erase(each)


def _free_dims(node: Node) -> int:
    return sum(not isinstance(dim, int) for dim in node.meta["val"].shape)
