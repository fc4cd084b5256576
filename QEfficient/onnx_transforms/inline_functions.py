"""The graph that OpenVINO runs where the plain one has functions of its own, which OpenVINO does not read."""

from __future__ import annotations

from pathlib import Path

from QEfficient.onnx_transforms.apply import run
from QEfficient.onnx_transforms.graph_file import read, write_beside
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.onnx_transforms.standard_operators import InlineFunctions
from QEfficient.onnx_transforms.used_positions import UsedPositions


def write_inlined(source: Path, target: Path) -> None:
    """Writes a graph beside another, with the nodes of its functions where these are called; both read the same data.

    A decoder's caches are read as far as they are used, see :class:`UsedPositions`.

    Args:
        source: The graph; it stays as it is.
        target: A file in the same folder, which is not there yet.

    Raises:
        CorruptArtefactError: The graph can't be read.
    """
    model = read(source)
    run(model, [UsedPositions(), InlineFunctions(), RemoveDeadCode()])
    write_beside(model, source, target)
