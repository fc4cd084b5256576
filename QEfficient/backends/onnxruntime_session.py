"""A program in onnxruntime: what it is loaded with, and how its runs share the CPUs.

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
from QEfficient.backends.base import Arrays
from QEfficient.backends.host import Turns, guess, usable_cpus
from QEfficient.errors import BackendUnavailableError, CorruptArtefactError, DeviceError, InputError
from QEfficient.records import Json, Program, TensorSpec, Tuning

_CORRUPT = ("NoSuchFile", "InvalidProtobuf", "InvalidGraph", "InvalidArgument")  # onnxruntime's exception classes
_CORRUPT_WORDS = ("External data path", "External initializer", "Deserialize tensor")  # or "Fail" with one of these

SLOW_FUSIONS = ("SkipLayerNormFusion",)
"""Its kernel takes one element at a time: 0.97 ms for 504 × 384 numbers, against 0.11 ms of a plain LayerNormalization
and 0.1 ms of the two additions before it. Without it MiniLM is 1.09 times as fast; benchmarks/rewrites.py shows it."""

# CPUs that a run counts for among others. A short text keeps no more busy all the time, and the handle's threads help
# whichever run has work: two texts at once on two CPUs, each counted for one, are 0.8 to 1.05 times as fast in sum.
_RUN = 2


class OnnxRuntimeSession:
    """A program on the host's CPU; see :class:`QEfficient.backends.base.Session`.

    onnxruntime gives threads to a loaded graph, not to a call, so there are two handles on one program: a *wide* one
    for :meth:`run`, whose calls take every CPU, and a *narrow* one for the streams of :meth:`submit`, which all use it
    at once. Each is opened when it is needed; where one stream is best they are one handle.

    A call's handle never depends on what else goes on: with other threads a few operators (Tanh, Sigmoid) round some
    last bits another way. Runs that come together share the CPUs in turn.

    Args:
        program: A folder whose graph onnxruntime can load.
        strict: Take only the compiled shapes.
        tuning: How to run it on this machine; left out, a guess from the weights' size.
    """

    def __init__(self, program: Program, *, strict: bool, tuning: Tuning | None = None) -> None:
        manifest = program.manifest
        self.inputs, self.outputs, self.buckets = manifest.inputs, manifest.outputs, manifest.buckets
        self.fixed_shapes = strict
        self._path = program.onnx_path
        self._tuning = tuning or guess(_bytes(self._path))
        self.slots = self._tuning.streams
        self.batch_tokens: int | None = self._tuning.batch_tokens
        self._names = [spec.name for spec in self.outputs]
        self._cpus = usable_cpus()
        self._closed = False
        self._start()
        self._wide: Any = self._open(self._cpus)
        _SESSIONS.add(self)

    def _start(self) -> None:
        """State that belongs to one process."""
        self._wide = None
        self._narrow: Any = None
        self._ran_wide = False
        self._changed = threading.Condition()
        self._turns = Turns(self._cpus)
        self._flying = 0
        self._workers: ThreadPoolExecutor | None = None

    def _open(self, threads: int) -> Any:
        handle = load(self._path, threads=threads)
        _check_names(self._path, "inputs", self.inputs, handle.get_inputs())
        _check_names(self._path, "outputs", self.outputs, handle.get_outputs())
        return handle

    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → new array out."""
        self._enter()
        try:
            with self._turns.turn(_RUN):
                return self._execute(self._handle(wide=True), arrays)
        finally:
            self._leave()

    def submit(self, arrays: Mapping[str, NDArray[np.generic]]) -> Future[Arrays]:
        """As :meth:`run`, in the background; ``slots`` at a time, in order."""
        self._enter()
        try:
            with self._changed:
                if self._workers is None:
                    self._workers = ThreadPoolExecutor(self.slots, thread_name_prefix="onnxruntime-session")
                future = self._workers.submit(self._stream, arrays)
        except BaseException:
            self._leave()
            raise
        future.add_done_callback(lambda _: self._leave())
        return future

    def _stream(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        with self._turns.turn(max(1, self._cpus // self.slots)):
            return self._execute(self._handle(wide=False), arrays)

    def _enter(self) -> None:
        with self._changed:
            if self._closed:
                raise DeviceError(
                    "The session is closed.",
                    got="a run after close()",
                    allowed="an open session",
                    do="open the program again",
                )
            self._flying += 1

    def _leave(self) -> None:
        with self._changed:
            self._flying -= 1
            self._changed.notify_all()

    def _handle(self, *, wide: bool) -> Any:
        streams, threads = self._tuning.streams, self._tuning.threads
        with self._changed:
            if wide or streams == 1:
                self._ran_wide = True
                if self._wide is None:
                    self._wide = self._open(self._cpus)
                return self._wide
            if self._narrow is None:
                if not self._ran_wide:
                    self._wide = None  # opened to see that it can be; its weights need not be held twice
                # each caller works itself; the other threads are common to all
                self._narrow = self._open(streams * (threads - 1) + 1)
            return self._narrow

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
            "backend": "onnxruntime",
            "device": "cpu",
            "threads": self._cpus,
            "streams": self._tuning.streams,
            "batch_tokens": self._tuning.batch_tokens,
            "onnxruntime": str(onnxruntime().__version__),
            "strict": self.fixed_shapes,
        }

    def close(self) -> None:
        """Frees the graph. Runs in flight finish first; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._flying)
            self._wide = self._narrow = None
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        """In a forked child: onnxruntime's threads and the workers stayed behind, and the locks may be held."""
        _INHERITED.append((self._wide, self._narrow, self._workers))
        self._start()


_SESSIONS: weakref.WeakSet[OnnxRuntimeSession] = weakref.WeakSet()
_INHERITED: list[object] = []  # a child must not run the destructors of what its parent's threads use


def _forked() -> None:
    for session in list(_SESSIONS):
        session._after_fork()


os.register_at_fork(after_in_child=_forked)


def onnxruntime() -> ModuleType:
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


def load(path: Path, *, threads: int, check_only: bool = False) -> Any:
    """An ``InferenceSession``.

    Args:
        path: The graph.
        threads: CPUs of a run: the caller's thread, and so many less one that all runs share.
        check_only: Leave out what costs memory and time.

    Raises:
        CorruptArtefactError: A file is missing, short, altered or outside the folder.
        DeviceError: onnxruntime refuses it for another reason.
    """
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # whatever fails is raised; the log on stderr would only say it twice
    options.intra_op_num_threads = threads
    # Threads that wait for work at full speed, between the parts of a run, make it 1.2 to 1.3 times as fast. More than
    # 50 µs gain nothing, and as they are set by default they go on for 40 ms after the run: streams and other sessions
    # beside them then run at half their speed.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if check_only:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(SLOW_FUSIONS)
        )
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


def _bytes(graph: Path) -> int:
    """Size of the files that hold a graph and its weights, as :mod:`QEfficient.onnx_transforms` names them."""
    return sum(file.stat().st_size for file in graph.parent.glob(f"{graph.stem}*.onnx*") if file.is_file())


def _check_names(path: Path, what: str, specs: Sequence[TensorSpec], found: Sequence[Any]) -> None:
    names = [argument.name for argument in found]
    if sorted(names) != sorted(spec.name for spec in specs):
        raise CorruptArtefactError(
            f"The manifest and {path.name} disagree about the {what}.",
            got=", ".join(names),
            allowed=", ".join(spec.name for spec in specs),
            do="compile the model again",
        )
