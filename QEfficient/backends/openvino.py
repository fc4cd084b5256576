"""OpenVINO on the host's CPU: a program is its ONNX graph, as onnxruntime's is.

Nothing else is kept: OpenVINO reads and compiles MiniLM's graph in 0.16 s. Its own format takes as long, and a second
copy of the weights on disk; its cache of compiled models saves 0.07 s, for a copy of them too.
"""

from __future__ import annotations

from dataclasses import replace

from QEfficient.backends import openvino_graph
from QEfficient.backends.host import NARROW
from QEfficient.backends.host_program import HostBackend
from QEfficient.backends.openvino_session import OpenVinoSession
from QEfficient.backends.openvino_state import OpenVinoStateSession
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Target


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
