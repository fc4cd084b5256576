"""OpenVINO on the host's CPU: a program is its ONNX graph, as onnxruntime's is.

Nothing else is kept: OpenVINO reads and compiles MiniLM's graph in 0.16 s. Its own format takes as long, and a second
copy of the weights on disk; its cache of compiled models saves 0.07 s, for a copy of them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from QEfficient.backends import host_program, openvino_graph
from QEfficient.backends.base import Availability, Graphs, GraphShapes
from QEfficient.backends.openvino_session import OpenVinoSession
from QEfficient.errors import BackendUnavailableError, CompileError, CorruptArtefactError, DeviceError
from QEfficient.records import CompileOptions, Json, Program, Target


class OpenVinoBackend:
    """Compiles a graph by copying it, and runs it on the CPU in fp32, bf16 or int8."""

    name = "openvino"
    compute: tuple[str, ...] = ("fp32", openvino_graph.BF16, openvino_graph.INT8)

    def can_compile(self) -> Availability:
        """Wherever openvino can be imported."""
        return self.can_run()

    def can_run(self) -> Availability:
        """Wherever openvino can be imported."""
        try:
            return Availability(True, f"openvino {self.version()}")
        except BackendUnavailableError as error:
            return Availability(False, f"{error.what} {error.got}", str(error.do))

    def version(self) -> str:
        """The version of openvino."""
        return openvino_graph.version()

    def parse_options(self, keywords: Mapping[str, Json]) -> CompileOptions:
        """Checks the card's options as the card would; the host records them and does not use them."""
        from QEfficient.backends import card_options  # 50 options, needed by compile only

        return card_options.parse(keywords)

    def check(self, target: Target, options: CompileOptions) -> None:
        """Refuses a precision that the CPU does not have.

        Raises:
            BackendUnavailableError: openvino is not installed, or the CPU has no bf16.
        """
        if error := openvino_graph.missing(target.compute):
            raise error

    def compile(
        self, graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """Links or copies each graph and its external data into ``workdir``, and lets OpenVINO read it once.

        Raises:
            OptionError: No shapes, or a precision that it does not have.
            CorruptArtefactError: External data is missing or stands outside the graph's folder.
            CompileError: OpenVINO refuses the graph; its message is kept.
            BackendUnavailableError: openvino is not installed.
        """
        openvino_graph.openvino()
        program = host_program.make(self.compute, graphs, shapes, target, options, workdir)
        for name in graphs:
            one = program.only(name)
            try:
                read = openvino_graph.read(one.onnx_path)
                openvino_graph.check_longest(read, one.onnx_path, one.manifest.inputs, one.manifest.shapes)
            except (CorruptArtefactError, DeviceError) as error:
                raise CompileError(
                    "OpenVINO does not load the graph.",
                    got=str(error.got),
                    allowed="a graph that OpenVINO supports",
                    do="compile for another backend: backend='onnxruntime'",
                ) from error
        return program

    def open(self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False) -> OpenVinoSession:
        """Loads a program.

        Raises:
            OptionError: ``devices`` is given; the host has none.
            CorruptArtefactError: The graph or its external data is missing, short, altered or outside the folder.
            DeviceError: OpenVINO can't load it for another reason.
            BackendUnavailableError: openvino is not installed, or the CPU has no bf16.
        """
        host_program.refuse_devices(devices)
        return OpenVinoSession(program, strict=strict)
