"""Which of a graph's inputs a runtime may overwrite while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from QEfficient.onnx_transforms.graph_file import read

SCATTERS = frozenset({"ScatterND", "ScatterElements"})
_ATTENTION = ("com.microsoft", "GroupQueryAttention")
_CACHES = (3, 4)  # its inputs that it may write where they stand
_SHAPES_ONLY = frozenset({"Shape", "Size"})  # they look at no number


def read_where_written(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Those of ``names`` whose numbers one node reads, which writes into them: a scatter, or attention; nothing else.

    onnxruntime does not know that two bindings are one buffer. What else reads such an input might run after it was
    written: a window's cache, say, that is attended to as it was before this chunk.

    Args:
        path: The graph.
        names: Inputs of it.

    Raises:
        CorruptArtefactError: The graph can't be read.
    """
    model = read(path)
    inputs = {str(value.name): value for value in model.graph.inputs}
    return tuple(name for name in names if _readers(model, inputs[name]) == [True])


def _readers(model: ir.Model, value: ir.Value) -> list[bool]:
    """Of each use of a value's numbers, in functions too, whether it is what the node writes into."""
    found = [False] if value.is_graph_output() else []
    for node, place in value.uses():
        function = model.functions.get(node.op_identifier())
        if function is not None:
            found += _readers(model, function.inputs[place])
        elif node.domain or node.op_type not in _SHAPES_ONLY:
            scatters = not node.domain and node.op_type in SCATTERS and place == 0
            found.append(scatters or ((node.domain, node.op_type) == _ATTENTION and place in _CACHES))
    return found
