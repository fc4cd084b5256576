"""Inputs of a graph whose numbers are rows of a table: ids, and the embeddings that they stand for."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from QEfficient.onnx_transforms import weights
from QEfficient.onnx_transforms.graph_file import read

_PASSED_ON = frozenset(("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Transpose"))  # leave ids as they are


def tables(path: Path) -> dict[str, int]:
    """Input name → rows of the smallest table that its numbers are looked up in.

    Numbers that are computed with first, as an id that is hashed or counted into a position, are not the input's own:
    such an input is not in the result.

    Args:
        path: The graph's file.
    """
    return {str(value.name): min(sizes) for value in read(path).graph.inputs if (sizes := _sizes(value))}


def _sizes(value: ir.Value) -> list[int]:
    sizes = []
    for node, place in value.uses():
        if _passes_on(node, place, value):
            sizes += _sizes(node.outputs[0])
        elif node.op_type == "Gather" and place == 1:
            table, axis = node.inputs[0], node.attributes.get_int("axis", 0)
            size = table.shape[axis] if table is not None and table.shape is not None else None
            sizes += [size] if isinstance(size, int) else []
    return sizes


def _passes_on(node: ir.Node, place: int, value: ir.Value) -> bool:
    """Whether the node's result holds numbers of the value as they are, however large."""
    if node.op_type == "Where":  # what stands at padding may be replaced; what is too large may be, too
        made_of = [node.inputs[0], *(read for maker in weights.makers(node.inputs[0]) for read in maker.inputs)]
        return place > 0 and value not in made_of
    if node.op_type == "Clip":
        return place == 0 and (len(node.inputs) < 3 or node.inputs[2] is None)
    return node.op_type in _PASSED_ON and place == 0
