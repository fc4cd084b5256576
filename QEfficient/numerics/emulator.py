"""The backend ``"emulator"``: a program that computes on the host what a card's would, as far as that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from QEfficient.backends.host_session import HostSession
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.records import MODEL, CompileOptions, GraphFacts, OnnxModel, Program

FOLDER = "emulated"


class EmulatorBackend(OnnxRuntimeBackend):
    """Takes the card's options, and runs the card's arithmetic on the CPU; see :mod:`QEfficient.numerics.emulate`.

    Precision is what it shows: fp16, MXFP6 weights, a node-precision file. Its speed is the host's.
    """

    name = "emulator"
    compute: tuple[str, ...] = ("fp16",)

    def _complete(self, program: Program, model: OnnxModel, options: CompileOptions) -> GraphFacts:
        """Beside the graph, in a folder of its own, stands the one that computes as a card.

        Raises:
            OptionError: A node-precision file does not fit the graph.
        """
        from QEfficient.numerics.emulate import computed_in, emulated  # onnx, which a session must not need

        graph = program.manifest.graph
        emulated(model, program.onnx_path.parent / FOLDER, computed_in(options, program.manifest.target))
        return replace(graph, binary=str(PurePosixPath(graph.onnx).parent / FOLDER))

    def open(self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False) -> HostSession[Any]:
        """Loads a program; as the host's backend does."""
        graph = program.manifest.graph
        manifest = replace(program.manifest, graphs={MODEL: replace(graph, onnx=f"{graph.binary}/model.onnx")})
        return super().open(Program(program.path, manifest), devices, strict=strict)
