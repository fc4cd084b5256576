"""The graph that OpenVINO runs of a decoder whose rows may be any: caches of blocks, and no padding.

OpenVINO copies a cache that it writes into, all slots and positions of it, and has one operator that does not:
attention over blocks, made for serving.
"""

from __future__ import annotations

from pathlib import Path

from QEfficient.onnx_transforms.apply import run
from QEfficient.onnx_transforms.graph_file import read, write_beside
from QEfficient.onnx_transforms.join_norms import JoinNorms
from QEfficient.onnx_transforms.paged_attention import TOKENS, PageAttention, reads_rows
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.onnx_transforms.standard_operators import InlineFunctions


def write_paged(source: Path, target: Path) -> bool:
    """Writes what :class:`PageAttention` makes of a decoder's graph beside it; both read the same data.

    Args:
        source: The graph; it stays as it is.
        target: A file in the same folder, which is not there yet.

    Returns:
        Whether it can be had in this form; else nothing is written.

    Raises:
        CorruptArtefactError: The graph can't be read.
    """
    model = read(source)
    if not run(model, [PageAttention()]):
        return False
    run(model, [RemoveDeadCode(), JoinNorms("com.microsoft"), InlineFunctions(), RemoveDeadCode()])
    graph = model.graph
    if reads_rows(graph):
        return False
    for value in [value for value in graph.inputs if not value.uses() and value.name not in TOKENS]:
        graph.inputs.remove(value)
    write_beside(model, source, target)
    return True
