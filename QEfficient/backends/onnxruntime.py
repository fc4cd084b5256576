"""The host backend: onnxruntime on the CPU.

A program is its ONNX graph; beside it, where that is faster, the same in fewer nodes.

onnxruntime keeps external data inside the program's folder by itself: a location that is absolute, or that leads out
of the folder with ``..`` or through a link, is refused before the file is read. The tests hold it to that.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from QEfficient.backends.host import NARROW, ROUNDED
from QEfficient.backends.host_program import HostBackend
from QEfficient.backends.onnxruntime_session import OnnxRuntimeSession, load, onnxruntime
from QEfficient.backends.onnxruntime_state import OnnxRuntimeStateSession
from QEfficient.backends.retained import state_pairs
from QEfficient.errors import CorruptArtefactError, DeviceError
from QEfficient.records import CompileOptions, GraphFacts, OnnxModel, Program

__all__ = ["OnnxRuntimeBackend", "OnnxRuntimeSession"]

log = logging.getLogger("QEfficient")


class OnnxRuntimeBackend(HostBackend):
    """Compiles a graph by copying it, and runs it on the CPU in fp32 or int8, or in fp32 with weights of few bits."""

    name = runtime = "onnxruntime"
    compute: tuple[str, ...] = ("fp32", "int8", *NARROW)
    session, state_session = OnnxRuntimeSession, OnnxRuntimeStateSession

    def _find_version(self) -> str:
        return str(onnxruntime().__version__)

    def _try(self, program: Program) -> None:
        load(program.onnx_path, threads=1, check_only=True)

    def _complete(self, program: Program, model: OnnxModel, options: CompileOptions) -> GraphFacts:
        """What onnxruntime has one operator for is joined in a second graph, which the session runs.

        See ``onnx_transforms.joined``. Of either it is found out which state can be overwritten where it stands.
        """
        graph = self._joined(program)
        return replace(graph, in_place=in_place(graph, program.path / (graph.joined or graph.onnx)))

    def _joined(self, program: Program) -> GraphFacts:
        from QEfficient.onnx_transforms.joined import write_joined  # imports onnx, which a session must not need

        graph, path = program.manifest.graph, program.onnx_path.with_suffix(".onnxruntime.onnx")
        if not write_joined(program.onnx_path, path, _level(program)):
            return graph
        try:
            load(path, threads=1, check_only=True)
        except (CorruptArtefactError, DeviceError) as error:  # to be faster is no reason to fail
            log.warning("onnxruntime does not load %s and runs the plain graph: %s", path.name, error.got)
            path.unlink()
            return graph
        return replace(graph, joined=path.relative_to(program.path).as_posix())


def _level(program: Program) -> int | None:
    """How a decoder's products by weights of few bits are computed; an encoder's are turned back."""
    from QEfficient.onnx_transforms.narrow_products import FP32, INT8

    graph, compute = program.manifest.graph, program.manifest.target.compute
    if compute not in NARROW or not state_pairs(graph.inputs, graph.outputs):
        return None
    return INT8 if compute in ROUNDED else FP32


def in_place(graph: GraphFacts, path: Path) -> tuple[str, ...]:
    """State inputs that a run of the file at ``path`` may overwrite; see ``onnx_transforms.in_place``."""
    pairs = state_pairs(graph.inputs, graph.outputs)
    if not pairs:
        return ()
    from QEfficient.onnx_transforms.in_place import read_where_written  # imports onnx, which a session must not need

    return read_where_written(path, tuple(pairs))
