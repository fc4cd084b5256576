"""What every session on the host's CPUs does alike: two handles on a program, shared CPUs, threads and forks."""

from __future__ import annotations

import atexit
import threading
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends import huge_pages
from QEfficient.backends.base import Arrays, Closing, OfOneProcess
from QEfficient.backends.host import FairSemaphore, guess, usable_cpus
from QEfficient.backends.input_check import InputCheck
from QEfficient.backends.refusals import closed
from QEfficient.backends.threads import ENDING, leave, submit
from QEfficient.errors import CorruptArtefactError
from QEfficient.records import Json, Program, TensorSpec, Tuning

Handle = TypeVar("Handle")


class HostSession(OfOneProcess, Closing, Generic[Handle]):
    """A program on the host's CPUs; see :class:`QEfficient.backends.base.Session`.

    A runtime gives threads to a loaded graph, not to a call, so there are two handles on one program: a *wide* one for
    :meth:`run`, whose calls take every CPU, and a *narrow* one for the streams of :meth:`submit`, which all use it at
    once. Each is opened when it is needed; where one stream is best they are one handle.

    A call's handle never depends on what else goes on: with other threads a few operators round some last bits another
    way. Runs that come together share the CPUs in turn.

    Args:
        program: A folder whose graph the runtime can load.
        strict: Take only the compiled shapes.

    Attributes:
        tuning: How it runs, a guess from the weights' size until :meth:`tune` is called.
    """

    backend: str  # name of its backend
    places: int | None = None  # CPUs that a run counts for among others; None: all

    def __init__(self, program: Program, *, strict: bool) -> None:
        manifest = program.manifest
        self.inputs, self.outputs, self.shapes = manifest.inputs, manifest.outputs, manifest.shapes
        self.fixed_shapes = strict
        self._input_check = InputCheck(self.inputs, self.shapes, fixed_shapes=strict)
        self._path, self._compute = program.joined_path, manifest.target.compute
        self.tuning = guess(_bytes(program.onnx_path))
        self.slots = self.tuning.streams
        self._cpus = usable_cpus()
        self._closed = False
        self._start()
        self._wide: Handle | None = self._opened(1, self._cpus)
        _SESSIONS.add(self)
        fork.in_child(self._after_fork)

    @abstractmethod
    def _open(self, streams: int, threads: int) -> Handle:
        """Loads the program for so many calls at once, of so many threads each."""

    @abstractmethod
    def _call(self, handle: Handle, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Runs checked arrays."""

    @abstractmethod
    def _facts(self) -> dict[str, Json]:
        """What ``report`` says of the runtime."""

    def _start(self) -> None:
        """State that belongs to one process."""
        self._wide = None
        self._narrow: Handle | None = None
        self._ran_wide = False
        self._lock = threading.RLock()  # `with` on a condition runs Python code, on its lock none
        self._changed = threading.Condition(self._lock)
        self._free_cpus = FairSemaphore(self._cpus)
        self._flying = self._awaited = 0  # runs; threads that wait for the last of them
        self._workers: ThreadPoolExecutor | None = None

    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → new array out."""
        self._enter()
        try:
            return self._execute(self.places or self._cpus, arrays, wide=True)
        finally:
            self._leave()

    def submit(self, arrays: Mapping[str, NDArray[np.generic]]) -> Future[Arrays]:
        """As :meth:`run`, in the background; ``slots`` at a time, in order."""
        self._enter()
        try:
            with self._lock:
                if self._workers is None:
                    self._workers = ThreadPoolExecutor(self.slots, thread_name_prefix=f"{self.backend}-session")
                workers = self._workers
            future = submit(workers, self._stream, arrays)
        except BaseException:
            self._leave()
            raise
        future.add_done_callback(lambda _: self._leave())
        return future

    def _stream(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        return self._execute(max(1, self._cpus // self.slots), arrays, wide=False)

    def _execute(self, places: int, arrays: Mapping[str, NDArray[np.generic]], *, wide: bool) -> Arrays:
        taken = self._free_cpus.acquire(places)
        try:
            handle = self._handle(wide=wide)
            self._input_check.check(arrays)
            return self._call(handle, arrays)
        finally:
            self._free_cpus.release(taken)

    def _enter(self) -> None:
        with self._lock:
            if ENDING.is_set():
                leave()
            if self._closed:
                raise closed()
            self._flying += 1

    def _leave(self) -> None:
        with self._lock:
            self._flying -= 1
            if self._awaited:
                self._changed.notify_all()

    def _handle(self, *, wide: bool) -> Handle:
        with self._lock:
            if wide or self.tuning.streams == 1:
                self._ran_wide = True
                if self._wide is None:
                    self._wide = self._opened(1, self._cpus)
                return self._wide
            if self._narrow is None:
                if not self._ran_wide:
                    self._wide = None  # opened to see that it can be; its weights need not be held twice
                self._narrow = self._opened(self.tuning.streams, self.tuning.threads)
            return self._narrow

    def _opened(self, streams: int, threads: int) -> Handle:
        with huge_pages.tracked():
            return self._open(streams, threads)

    def tune(self, tuning: Tuning) -> None:
        """Runs so from now on. Runs in flight finish first."""
        with self._changed:
            self._wait()
            self.tuning, self.slots = tuning, tuning.streams
            self._narrow = None
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown()

    def use_huge_pages(self) -> None:
        """Moves the weights into huge pages, where the system has them."""
        huge_pages.collapse()

    def report(self) -> dict[str, Json]:
        """Device, threads and runtime version."""
        return {
            "backend": self.backend,
            "device": "cpu",
            "threads": self._cpus,
            "streams": self.tuning.streams,
            "batch_tokens": self.tuning.batch_tokens,
            "strict": self.fixed_shapes,
        } | self._facts()

    def close(self) -> None:
        """Frees the graph. Runs in flight finish first; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._wait()
            self._wide = self._narrow = None
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown()

    def _wait(self) -> None:
        """Until no run is in flight."""
        with self._changed:
            self._awaited += 1
            try:
                self._changed.wait_for(lambda: not self._flying)
            finally:
                self._awaited -= 1

    def _after_fork(self) -> None:
        """In a forked child: the runtime's threads and the workers stayed behind, and the locks may be held."""
        fork.leak(self._wide, self._narrow, self._workers)
        self._start()


_SESSIONS: weakref.WeakSet[HostSession[Any]] = weakref.WeakSet()


def _exiting() -> None:
    """No daemon thread may be inside the runtime when the interpreter ends."""
    ENDING.set()
    for session in list(_SESSIONS):
        session._wait()


atexit.register(_exiting)


def check_names(path: Path, what: str, specs: Sequence[TensorSpec], found: Sequence[str]) -> None:
    """Holds a loaded graph's inputs or outputs against the manifest's.

    Raises:
        CorruptArtefactError: They differ.
    """
    if sorted(found) != sorted(spec.name for spec in specs):
        raise CorruptArtefactError(
            f"The manifest and {path.name} disagree about the {what}.",
            got=", ".join(found) or f"no {what}",
            allowed=", ".join(spec.name for spec in specs),
            do="compile the model again",
        )


def _bytes(graph: Path) -> int:
    """Size of the files that hold a graph and its weights, as :mod:`QEfficient.onnx_transforms` names them."""
    files = [graph, *graph.parent.glob(f"{graph.stem}*.onnx.*")]
    return sum(file.stat().st_size for file in files if file.is_file())
