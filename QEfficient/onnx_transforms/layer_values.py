"""What goes into a layer's attention and comes out of it, as an operator that does all of it wants them: by token."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values
from QEfficient.onnx_transforms.cached_layers import CachedLayer

_HEADS_FIRST = [0, 2, 1, 3]


def by_token(heads: ir.Value, place: ir.Node, graph: ir.Graph, names: new_values.Names) -> ir.Value:
    """``(batch, heads, length, width)`` → ``(batch, length, heads · width)``; as it was before, where it was so.

    Args:
        heads: Queries, keys or values.
        place: What it takes is put before this node.
        graph: Where it is.
        names: Free ones.
    """
    name, size = str(heads.name), list(heads.shape or ())
    turned = match.made_by(heads, "Transpose", shared=True)
    if turned is not None and match.perm(turned) == _HEADS_FIRST and turned.inputs[0] is not None:
        behind = turned.inputs[0]
    else:
        behind = ir.Value(name=names.new(f"{name}_by_token"), type=heads.type)
        place.prepend(
            ir.node("Transpose", [heads], {"perm": _HEADS_FIRST}, outputs=[behind], name=f"node_{behind.name}")
        )
    split, width = match.made_by(behind, "Reshape", shared=True), size[1] * size[3]
    whole = split.inputs[0] if split is not None else None
    if whole is not None and whole.shape is not None and match.same(whole.shape, [size[0], size[2], width]):
        return whole
    wanted = new_values.initializer(graph, np.array([0, 0, width]), names.new(f"{name}_width"))
    return new_values.insert(place, "Reshape", [behind, wanted], names.new(f"{name}_whole"))


def give_result(layer: CachedLayer, joined: ir.Value, graph: ir.Graph, names: new_values.Names) -> None:
    """Gives ``joined``, ``(batch, length, heads · width)``, to whoever reads the layer's result."""
    flat = match.only_user(layer.result, "Reshape")
    if flat is not None and match.same(flat.outputs[0].shape or (), joined.shape or ()):
        take_place(flat.outputs[0], joined)
        return
    last = layer.result.producer()
    assert last is not None
    sizes = np.array([0, 0, layer.heads, layer.width])
    split = new_values.initializer(graph, sizes, names.new(f"{layer.result.name}_sizes"))
    name = names.new(f"{layer.result.name}_heads")
    take_place(layer.result, new_values.insert(last, "Reshape", [joined, split], name, like=layer.result))


def take_place(old: ir.Value, new: ir.Value) -> None:
    """Gives whoever reads a value another one, under its name."""
    name, old.name = old.name, None
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    new.name = name
