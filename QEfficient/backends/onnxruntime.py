"""The host backend: onnxruntime on the CPU. A program is its ONNX graph; nothing else is built.

onnxruntime keeps external data inside the program's folder by itself: a location that is absolute, or that leads out
of the folder with ``..`` or through a link, is refused before the file is read. The tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from QEfficient.backends.base import Availability
from QEfficient.backends.onnxruntime_session import OnnxRuntimeSession, load, onnxruntime
from QEfficient.errors import BackendUnavailableError, CompileError, CorruptArtefactError, DeviceError, OptionError
from QEfficient.records import Bucket, CompileOptions, Json, Manifest, OnnxModel, Program, Target, Tuning

__all__ = ["OnnxRuntimeBackend", "OnnxRuntimeSession"]


class OnnxRuntimeBackend:
    """Compiles a graph by copying it, and runs it on the CPU in fp32."""

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
        self, model: OnnxModel, buckets: Sequence[Bucket], target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """Links or copies the graph and its external data into ``workdir``, and lets onnxruntime load it once.

        Raises:
            OptionError: No buckets, or a precision other than fp32.
            CorruptArtefactError: External data is missing or stands outside the graph's folder.
            CompileError: onnxruntime refuses the graph; its message is kept.
            BackendUnavailableError: onnxruntime is not installed.
        """
        _check_target(self.compute, target, buckets)
        _copy_graph(model.path, workdir)
        try:
            load(workdir / model.path.name, threads=1, check_only=True)
        except (CorruptArtefactError, DeviceError) as error:
            raise CompileError(
                "onnxruntime does not load the graph.",
                got=str(error.got),
                allowed="a graph that onnxruntime supports",
                do=f"check the graph: onnx.checker.check_model({str(model.path)!r})",
            ) from error
        manifest = Manifest(
            target=target,
            buckets=tuple(sorted(buckets)),
            inputs=model.inputs,
            outputs=model.outputs,
            onnx=model.path.name,
            options=options,
        )
        return Program(workdir, manifest)

    def open(
        self,
        program: Program,
        devices: Sequence[int] | None = None,
        *,
        strict: bool = False,
        tuning: Tuning | None = None,
    ) -> OnnxRuntimeSession:
        """Loads a program.

        Raises:
            OptionError: ``devices`` is given; the host has none.
            CorruptArtefactError: The graph or its external data is missing, short, altered or outside the folder.
            DeviceError: onnxruntime can't load it for another reason.
            BackendUnavailableError: onnxruntime is not installed.
        """
        if devices is not None:
            raise OptionError(
                "The host has no device ids.",
                got=list(devices),
                allowed="None",
                do="leave device_ids out, or compile with backend='qaic' for a card",
            )
        return OnnxRuntimeSession(program, strict=strict, tuning=tuning)


def _check_target(compute: Sequence[str], target: Target, buckets: Sequence[Bucket]) -> None:
    if target.compute not in compute:
        raise OptionError(
            "The host does not compute in this precision.",
            got=target.compute,
            allowed=", ".join(compute),
            do=f"pass compute={compute[0]!r}, or leave it out",
        )
    if not buckets:
        raise OptionError(
            "There are no shapes to compile for.",
            got="no buckets",
            allowed="at least one bucket",
            do="pass seq_len=128, or leave it out",
        )


def _copy_graph(source: Path, workdir: Path) -> None:
    """The graph and every external file that it names, linked or copied to the same relative places."""
    from QEfficient.cache import link_or_copy
    from QEfficient.onnx_transforms import external_files  # imports onnx, which a session must not need

    for file in (source, *external_files(source)):
        copy = workdir / file.relative_to(source.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, copy)
