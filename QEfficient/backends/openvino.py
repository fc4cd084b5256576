"""OpenVINO on the host's CPU: a program is its ONNX graph, as onnxruntime's is.

Nothing else is kept: OpenVINO reads and compiles MiniLM's graph in 0.16 s. Its own format takes as long, and a second
copy of the weights on disk; its cache of compiled models saves 0.07 s, for a copy of them too.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from QEfficient.backends import openvino_graph, openvino_paged
from QEfficient.backends.host import NARROW
from QEfficient.backends.host_program import HostBackend
from QEfficient.backends.openvino_paged_state import OpenVinoPagedSession
from QEfficient.backends.openvino_session import OpenVinoSession
from QEfficient.backends.openvino_state import OpenVinoStateSession
from QEfficient.backends.retained import state_pairs
from QEfficient.backends.state_session import StateSession
from QEfficient.errors import CorruptArtefactError, DeviceError
from QEfficient.records import MODEL, CompileOptions, GraphFacts, OnnxModel, Program, Target

log = logging.getLogger("QEfficient")


class OpenVinoBackend(HostBackend):
    """Compiles a graph by copying it, and runs it on the CPU in fp32, bf16 or int8, or with weights of few bits."""

    name = runtime = "openvino"
    compute = ("fp32", openvino_graph.BF16, openvino_graph.INT8, *NARROW)
    session, state_session = OpenVinoSession, OpenVinoStateSession

    def _find_version(self) -> str:
        return openvino_graph.version()

    def check(self, target: Target, options: CompileOptions) -> None:
        """Refuses a precision that the CPU does not have.

        Raises:
            BackendUnavailableError: openvino is not installed, or the CPU has no bf16.
        """
        if error := openvino_graph.missing(target.compute):
            raise error

    def _prepare(self, program: Program, model: OnnxModel) -> Program:
        """A graph with functions of its own has a second one beside it, without: OpenVINO reads none."""
        if not model.functions:
            return program
        from QEfficient.onnx_transforms.inline_functions import write_inlined  # onnx, which a session must not need

        graph, path = program.manifest.graph, program.onnx_path.with_suffix(".openvino.onnx")
        write_inlined(program.onnx_path, path)
        inlined = replace(graph, joined=path.relative_to(program.path).as_posix())
        return replace(program, manifest=replace(program.manifest, graphs={MODEL: inlined}))

    def _try(self, program: Program) -> None:
        read = openvino_graph.read(program.joined_path)
        openvino_graph.check_longest(read, program.joined_path, program.manifest.inputs, program.manifest.shapes)

    def _complete(self, program: Program, model: OnnxModel, options: CompileOptions) -> GraphFacts:
        """A decoder has a further graph, whose caches are blocks, where it can be had and this version reads it.

        See ``onnx_transforms.paged``. A session whose shapes are free runs it.
        """
        graph, path = program.manifest.graph, program.onnx_path.with_suffix(".openvino_paged.onnx")
        if not state_pairs(graph.inputs, graph.outputs) or not openvino_paged.is_there():
            return graph
        from QEfficient.onnx_transforms.paged import write_paged  # imports onnx, which a session must not need

        if not write_paged(program.onnx_path, path):
            return graph
        try:
            openvino_paged.read(path, program.manifest.target.compute)
        except (CorruptArtefactError, DeviceError) as error:  # to be faster is no reason to fail
            log.warning("OpenVINO does not load %s and copies its caches: %s", path.name, error.got)
            path.unlink()
            return graph
        return replace(graph, paged=path.relative_to(program.path).as_posix())

    def _open_with_state(self, program: Program, *, strict: bool) -> StateSession:
        """Fixed shapes are for rows that change nothing for one another, which rows of one sequence do not promise."""
        if program.paged_path is not None and not strict and openvino_paged.is_there():
            try:
                return OpenVinoPagedSession(program, strict=False)
            except DeviceError as error:
                what = "This version of OpenVINO does not run %s, and copies its caches: %s"
                log.warning(what, program.paged_path.name, error.got)
        return super()._open_with_state(program, strict=strict)
