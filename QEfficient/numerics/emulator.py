"""The backend ``"emulator"``: a program that computes on the host what a card's would, as far as that is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from QEfficient.backends.base import Availability, Graphs, GraphShapes
from QEfficient.backends.graphs import jobs
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeSession
from QEfficient.errors import OptionError
from QEfficient.records import MODEL, CompileOptions, Json, Program, Target

FOLDER = "emulated"


class EmulatorBackend:
    """Takes the card's options, and runs the card's arithmetic on the CPU; see :mod:`QEfficient.numerics.emulate`.

    Precision is what it shows: fp16, MXFP6 weights, a node-precision file. Its speed is the host's.
    """

    name = "emulator"
    compute: tuple[str, ...] = ("fp16",)

    def __init__(self) -> None:
        self._host = OnnxRuntimeBackend()

    def can_compile(self) -> Availability:
        """Wherever onnxruntime can be imported."""
        return self._host.can_compile()

    def can_run(self) -> Availability:
        """Wherever onnxruntime can be imported."""
        return self._host.can_run()

    def version(self) -> str:
        """The version of onnxruntime."""
        return self._host.version()

    def parse_options(self, keywords: Mapping[str, Json]) -> CompileOptions:
        """Checks the card's options as the card would."""
        return self._host.parse_options(keywords)

    def check(self, target: Target, options: CompileOptions) -> None:
        """Refuses nothing: cores and devices are a card's."""

    def compile(
        self, graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """Puts each graph into ``workdir``, and beside it, in a folder of its own, the one that computes as a card.

        Raises:
            OptionError: No shapes, or a node-precision file that does not fit the graph.
            CompileError: onnxruntime refuses the graph; its message is kept.
        """
        from QEfficient.numerics.emulate import emulated, precision_of  # onnx, which a session must not need

        if target.compute not in self.compute:
            raise OptionError(
                "The emulator computes as the card does.",
                got=target.compute,
                allowed=", ".join(self.compute),
                do="leave compute out, or compile for the host with backend='onnxruntime'",
            )
        host = dataclasses.replace(target, compute=self._host.compute[0])
        made = self._host.compile_plain(graphs, shapes, host, options, workdir)
        facts = {}
        for name, job in jobs(graphs, shapes, workdir).items():
            emulated(job.model, job.folder / FOLDER, precision_of(options, target))
            facts[name] = job.facts(binary=FOLDER)
        return Program(workdir, dataclasses.replace(made.manifest, target=target, graphs=facts))

    def open(
        self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False
    ) -> OnnxRuntimeSession:
        """Loads a program; as the host's backend does."""
        graph = program.manifest.graph
        emulated = dataclasses.replace(graph, onnx=f"{graph.binary}/model.onnx")
        manifest = dataclasses.replace(program.manifest, graphs={MODEL: emulated})
        return self._host.open(Program(program.path, manifest), devices, strict=strict)
