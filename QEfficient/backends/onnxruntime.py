"""The host backend: onnxruntime on the CPU.

A program is its ONNX graph; beside it, where that is faster, the same in fewer nodes.

onnxruntime keeps external data inside the program's folder by itself: a location that is absolute, or that leads out
of the folder with ``..`` or through a link, is refused before the file is read. The tests hold it to that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from QEfficient.backends import host_program
from QEfficient.backends.base import Availability, Graphs, GraphShapes
from QEfficient.backends.onnxruntime_session import OnnxRuntimeSession, load, onnxruntime
from QEfficient.errors import BackendUnavailableError, CompileError, CorruptArtefactError, DeviceError
from QEfficient.records import CompileOptions, GraphFacts, Json, Program, Target

__all__ = ["OnnxRuntimeBackend", "OnnxRuntimeSession"]

log = logging.getLogger("QEfficient")


class OnnxRuntimeBackend:
    """Compiles a graph by copying it, and runs it on the CPU in fp32 or int8."""

    name = "onnxruntime"
    compute: tuple[str, ...] = ("fp32", "int8")

    def can_compile(self) -> Availability:
        """Wherever onnxruntime can be imported."""
        return self.can_run()

    def can_run(self) -> Availability:
        """Wherever onnxruntime can be imported."""
        try:
            onnxruntime()
        except BackendUnavailableError as error:
            return Availability(False, f"{error.what} {error.got}", str(error.do))
        return Availability(True, f"onnxruntime {self.version()}")

    def version(self) -> str:
        """The version of onnxruntime."""
        return str(onnxruntime().__version__)

    def parse_options(self, keywords: Mapping[str, Json]) -> CompileOptions:
        """Checks the card's options as the card would; the host records them and does not use them."""
        from QEfficient.backends import card_options  # 50 options, needed by compile only

        return card_options.parse(keywords)

    def check(self, target: Target, options: CompileOptions) -> None:
        """Refuses nothing: cores and devices are a card's, and the precision is checked against :attr:`compute`."""

    def compile(
        self, graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """As :meth:`compile_plain`; and what onnxruntime has one operator for is joined in a second graph beside each.

        See ``onnx_transforms.joined``. The session runs that one.
        """
        return _with_joined(self.compile_plain(graphs, shapes, target, options, workdir))

    def compile_plain(
        self, graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """Links or copies each graph and its external data into ``workdir``, and lets onnxruntime load it once.

        Raises:
            OptionError: No shapes, or a precision that it does not have.
            CorruptArtefactError: External data is missing or stands outside the graph's folder.
            CompileError: onnxruntime refuses the graph; its message is kept.
            BackendUnavailableError: onnxruntime is not installed.
        """
        program = host_program.make(self.compute, graphs, shapes, target, options, workdir)
        for name, model in graphs.items():
            try:
                load(program.only(name).onnx_path, threads=1, check_only=True)
            except (CorruptArtefactError, DeviceError) as error:
                raise CompileError(
                    "onnxruntime does not load the graph.",
                    got=str(error.got),
                    allowed="a graph that onnxruntime supports",
                    do=f"check the graph: onnx.checker.check_model({str(model.path)!r})",
                ) from error
        return program

    def open(
        self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False
    ) -> OnnxRuntimeSession:
        """Loads a program.

        Raises:
            OptionError: ``devices`` is given; the host has none.
            CorruptArtefactError: The graph or its external data is missing, short, altered or outside the folder.
            DeviceError: onnxruntime can't load it for another reason.
            BackendUnavailableError: onnxruntime is not installed.
        """
        host_program.refuse_devices(devices)
        return OnnxRuntimeSession(program, strict=strict)


def _with_joined(program: Program) -> Program:
    """The program with a graph of fewer nodes beside each of its own, where there is something to join."""
    graphs = {name: _joined(program.only(name)) for name in program.manifest.graphs}
    return replace(program, manifest=replace(program.manifest, graphs=graphs))


def _joined(program: Program) -> GraphFacts:
    """The facts of a program's only graph, with that of fewer nodes."""
    from QEfficient.onnx_transforms.joined import write_joined  # imports onnx, which a session must not need

    graph, path = program.manifest.graph, program.onnx_path.with_suffix(".onnxruntime.onnx")
    if not write_joined(program.onnx_path, path):
        return graph
    try:
        load(path, threads=1, check_only=True)
    except (CorruptArtefactError, DeviceError) as error:  # to be faster is no reason to fail
        log.warning("onnxruntime does not load %s and runs the plain graph: %s", path.name, error.got)
        path.unlink()
        return graph
    return replace(graph, joined=path.relative_to(program.path).as_posix())
