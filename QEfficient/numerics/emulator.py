"""The backend ``"emulator"``: a program that computes on the host what a card's would, as far as that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from QEfficient.backends.base import Session
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend, in_place
from QEfficient.numerics.emulated_state import EmulatedStateSession
from QEfficient.records import MODEL, CompileOptions, GraphFacts, OnnxModel, Program

FOLDER = "emulated"


class EmulatorBackend(OnnxRuntimeBackend):
    """Takes the card's options, and runs the card's arithmetic on the CPU; see :mod:`QEfficient.numerics.emulate`.

    Precision is what it shows: fp16, MXFP6 weights, a node-precision file. Its speed is the host's.
    """

    name = "emulator"
    state_session = EmulatedStateSession
    compute: tuple[str, ...] = ("fp16",)

    def _complete(self, program: Program, model: OnnxModel, options: CompileOptions) -> GraphFacts:
        """Beside the graph, in a folder of its own, stands the one that computes as a card.

        Raises:
            OptionError: A node-precision file does not fit the graph.
        """
        from QEfficient.numerics.emulate import computed_in, emulated  # onnx, which a session must not need

        graph = program.manifest.graph
        made = emulated(model, program.onnx_path.parent / FOLDER, computed_in(options, program.manifest.target))
        folder = str(PurePosixPath(graph.onnx).parent / FOLDER)
        return replace(graph, binary=folder, in_place=in_place(graph, made.path))

    def open(self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False) -> Session:
        """Loads a program; as the host's backend does."""
        graph = program.manifest.graph
        manifest = replace(program.manifest, graphs={MODEL: replace(graph, onnx=f"{graph.binary}/model.onnx")})
        return super().open(Program(program.path, manifest), devices, strict=strict)
