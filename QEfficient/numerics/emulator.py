"""The backend ``"emulator"``: a program that computes on the host what a card's would, as far as that is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from QEfficient.backends.base import Graphs, GraphShapes
from QEfficient.backends.graphs import jobs
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeSession
from QEfficient.records import MODEL, CompileOptions, Program, Target

FOLDER = "emulated"


class EmulatorBackend(OnnxRuntimeBackend):
    """Takes the card's options, and runs the card's arithmetic on the CPU; see :mod:`QEfficient.numerics.emulate`.

    Precision is what it shows: fp16, MXFP6 weights, a node-precision file. Its speed is the host's.
    """

    name = "emulator"
    compute: tuple[str, ...] = ("fp16",)

    def compile(
        self, graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """Puts each graph into ``workdir``, and beside it, in a folder of its own, the one that computes as a card.

        Raises:
            OptionError: No shapes, another precision, or a node-precision file that does not fit the graph.
            CompileError: onnxruntime refuses the graph; its message is kept.
        """
        from QEfficient.numerics.emulate import computed_in, emulated  # onnx, which a session must not need

        made = self.compile_plain(graphs, shapes, target, options, workdir)
        facts = {}
        for name, job in jobs(graphs, shapes, workdir).items():
            emulated(job.model, job.folder / FOLDER, computed_in(options, target))
            facts[name] = job.facts(binary=FOLDER)
        return Program(workdir, dataclasses.replace(made.manifest, graphs=facts))

    def open(
        self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False
    ) -> OnnxRuntimeSession:
        """Loads a program; as the host's backend does."""
        graph = program.manifest.graph
        emulated = dataclasses.replace(graph, onnx=f"{graph.binary}/model.onnx")
        manifest = dataclasses.replace(program.manifest, graphs={MODEL: emulated})
        return super().open(Program(program.path, manifest), devices, strict=strict)
