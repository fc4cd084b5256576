"""The graph that onnxruntime runs, where one of fewer nodes is faster than the plain one.

A program's ``model.onnx`` has standard operators only: it is what other runtimes, the doctor and people read. Where
there is attention to join, a second graph stands beside it, which reads the same weights.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from QEfficient.onnx_transforms.apply import run
from QEfficient.onnx_transforms.graph_file import read
from QEfficient.onnx_transforms.join_attention import JoinAttention
from QEfficient.onnx_transforms.move_biases import MoveBiases
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode


def write_joined(source: Path, target: Path) -> bool:
    """Writes what :class:`MoveBiases` and :class:`JoinAttention` make of a graph, beside it.

    Both graphs read the same external data; only moved biases are the second one's own.

    Returns:
        Whether there was attention to join; else nothing is written.
    """
    model = read(source)
    run(model, [MoveBiases()])
    if not run(model, [JoinAttention()]):
        return False
    run(model, [RemoveDeadCode()])
    _make_relative(model, source.parent.absolute())
    onnx.save_model(ir.to_proto(model), target)
    return True


def _make_relative(model: ir.Model, folder: Path) -> None:
    """Names the external data by its place beside the graph; :func:`read` made the paths absolute."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.ExternalTensor(
                Path(tensor.path).relative_to(folder).as_posix(),
                tensor.offset,
                tensor.length,
                tensor.dtype,
                shape=tensor.shape,
                name=str(tensor.name),
                base_dir=folder,
            )
