"""The host backend: onnxruntime on the CPU. A program is its ONNX graph; nothing else is built.

onnxruntime keeps external data inside the program's folder by itself: a location that is absolute, or that leads out
of the folder with ``..`` or through a link, is refused before the file is read. The tests hold it to that.

On Linux, onnxruntime 1.32 records usage events and sends them to its maker. This backend switches that off as far as
its API goes; one event about the process is recorded at import all the same. Only ``ORT_DISABLE_TELEMETRY=1``, set
before the process starts, stops it wholly. It also keeps a forked child that ends through ``sys.exit`` from hanging.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends import feed
from QEfficient.backends.base import Arrays, Availability
from QEfficient.backends.host import usable_cpus
from QEfficient.errors import (
    BackendUnavailableError,
    CompileError,
    CorruptArtefactError,
    DeviceError,
    InputError,
    OptionError,
)
from QEfficient.records import Bucket, CompileOptions, Json, Manifest, OnnxModel, Program, Target, TensorSpec, Tuning

_CORRUPT = ("NoSuchFile", "InvalidProtobuf", "InvalidGraph", "InvalidArgument")  # onnxruntime's exception classes
_CORRUPT_WORDS = ("External data path", "External initializer", "Deserialize tensor")  # or "Fail" with one of these


class OnnxRuntimeBackend:
    """Compiles a graph by copying it, and runs it on the CPU in fp32."""

    name = "onnxruntime"
    compute: tuple[str, ...] = ("fp32",)

    def can_compile(self) -> Availability:
        """Wherever onnxruntime can be imported."""
        return self.can_run()

    def can_run(self) -> Availability:
        """Wherever onnxruntime can be imported."""
        try:
            _onnxruntime()
        except BackendUnavailableError as error:
            return Availability(False, f"{error.what} {error.got}", str(error.do))
        return Availability(True, f"onnxruntime {self.version()}")

    def version(self) -> str:
        """The version of onnxruntime."""
        return str(_onnxruntime().__version__)

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
            _load(workdir / model.path.name, check_only=True)
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


class OnnxRuntimeSession:
    """A program on the host's CPU; see :class:`QEfficient.backends.base.Session`.

    Args:
        program: A folder whose graph onnxruntime can load.
        strict: Take only the compiled shapes.
        tuning: How to run it on this machine.
    """

    slots = 1  # a run already uses every CPU

    def __init__(self, program: Program, *, strict: bool, tuning: Tuning | None = None) -> None:
        manifest = program.manifest
        self.batch_tokens = tuning.batch_tokens if tuning else None
        self.inputs, self.outputs, self.buckets = manifest.inputs, manifest.outputs, manifest.buckets
        self.fixed_shapes = strict
        self._path = program.onnx_path
        self._names = [spec.name for spec in self.outputs]
        self._closed = False
        self._start()
        self._handle: Any = self._open()
        _SESSIONS.add(self)

    def _start(self) -> None:
        """State that belongs to one process."""
        self._handle = None
        self._changed = threading.Condition()
        self._flying = 0
        self._worker: ThreadPoolExecutor | None = None

    def _open(self) -> Any:
        handle = _load(self._path)
        _check_names(self._path, "inputs", self.inputs, handle.get_inputs())
        _check_names(self._path, "outputs", self.outputs, handle.get_outputs())
        return handle

    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → new array out."""
        handle = self._enter()
        try:
            return self._execute(handle, arrays)
        finally:
            self._leave()

    def submit(self, arrays: Mapping[str, NDArray[np.generic]]) -> Future[Arrays]:
        """As :meth:`run`, in the background; one at a time, in order."""
        handle = self._enter()
        try:
            with self._changed:
                if self._worker is None:
                    self._worker = ThreadPoolExecutor(1, thread_name_prefix="onnxruntime-session")
                future = self._worker.submit(self._execute, handle, arrays)
        except BaseException:
            self._leave()
            raise
        future.add_done_callback(lambda _: self._leave())
        return future

    def _enter(self) -> Any:
        with self._changed:
            if self._closed:
                raise DeviceError(
                    "The session is closed.",
                    got="a run after close()",
                    allowed="an open session",
                    do="open the program again",
                )
            if self._handle is None:  # in a forked child
                self._handle = self._open()
            self._flying += 1
            return self._handle

    def _leave(self) -> None:
        with self._changed:
            self._flying -= 1
            self._changed.notify_all()

    def _execute(self, handle: Any, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        feed.check(arrays, self.inputs, self.buckets, fixed_shapes=self.fixed_shapes)
        try:
            results = handle.run(self._names, dict(arrays))
        except Exception as error:  # onnxruntime's exceptions have no common class below Exception
            if "out of data bounds" in str(error):
                raise InputError(
                    "An id is outside of the model's table.",
                    got=str(error),
                    allowed="ids of the model's own tokenizer",
                    do="take the ids from the tokenizer of this model",
                ) from error
            raise DeviceError(
                "onnxruntime failed to run the program.",
                status=str(error),
                allowed="a graph that the installed onnxruntime computes",
                do="compile the program again",
            ) from error
        return dict(zip(self._names, results, strict=True))

    def report(self) -> dict[str, Json]:
        """Device, threads and runtime version."""
        return {
            "backend": OnnxRuntimeBackend.name,
            "device": "cpu",
            "threads": usable_cpus(),
            "onnxruntime": str(_onnxruntime().__version__),
            "strict": self.fixed_shapes,
        }

    def close(self) -> None:
        """Frees the graph. Runs in flight finish first; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._flying)
            self._handle, worker, self._worker = None, self._worker, None
        if worker is not None:
            worker.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        """In a forked child: onnxruntime's threads and the worker stayed behind, and the lock may be held."""
        _INHERITED.append((self._handle, self._worker))
        self._start()


_SESSIONS: weakref.WeakSet[OnnxRuntimeSession] = weakref.WeakSet()
_INHERITED: list[object] = []  # a child must not run the destructors of what its parent's threads use


def _forked() -> None:
    for session in list(_SESSIONS):
        session._after_fork()


os.register_at_fork(after_in_child=_forked)


def _onnxruntime() -> ModuleType:
    """The module, with its usage events switched off.

    Raises:
        BackendUnavailableError: It is not installed, or does not load on this machine.
    """
    try:
        import onnxruntime  # imported on use: 0.1 s
    except ImportError as error:
        raise BackendUnavailableError(
            "onnxruntime can't be imported.",
            got=str(error),
            allowed="onnxruntime 1.32 or later",
            do="pip install onnxruntime",
        ) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime  # type: ignore[no-any-return, unused-ignore]


def _load(path: Path, *, check_only: bool = False) -> Any:
    """An ``InferenceSession``; ``check_only`` leaves out what costs memory and time.

    Raises:
        CorruptArtefactError: A file is missing, short, altered or outside the folder.
        DeviceError: onnxruntime refuses it for another reason.
    """
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # whatever fails is raised; the log on stderr would only say it twice
    options.intra_op_num_threads = usable_cpus()
    if check_only:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common class below Exception
        text = str(error)
        if type(error).__name__ in _CORRUPT or any(words in text for words in _CORRUPT_WORDS):
            raise CorruptArtefactError(
                f"The graph {path.name} or its external data can't be used.",
                got=text,
                allowed="the files as they were compiled, all inside the program's folder",
                do="compile the model again, or copy the program's folder again",
            ) from error
        raise DeviceError(
            "onnxruntime can't load the program.",
            status=text,
            allowed=f"a graph for onnxruntime {ort.__version__}",
            do="compile the model again",
        ) from error


def _check_names(path: Path, what: str, specs: Sequence[TensorSpec], found: Sequence[Any]) -> None:
    names = [argument.name for argument in found]
    if sorted(names) != sorted(spec.name for spec in specs):
        raise CorruptArtefactError(
            f"The manifest and {path.name} disagree about the {what}.",
            got=", ".join(names),
            allowed=", ".join(spec.name for spec in specs),
            do="compile the model again",
        )


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
