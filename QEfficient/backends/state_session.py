"""What every session on the host's CPUs that keeps state does alike; see ``base.Retaining``.

It is no :class:`QEfficient.backends.host_session.HostSession`: that one has several handles for many callers at once,
where each run of this one goes on from what the last one left. So there is one handle, with every CPU, and one run at a
time.
"""

from __future__ import annotations

import atexit
import math
import weakref
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends import huge_pages
from QEfficient.backends.base import Arrays, Closing, OfOneProcess
from QEfficient.backends.host import usable_cpus
from QEfficient.backends.input_check import InputCheck
from QEfficient.backends.owned_state import OwnedState
from QEfficient.backends.retained import copy_slot, state_pairs
from QEfficient.backends.state_checks import check_slot, check_state
from QEfficient.backends.threads import ENDING
from QEfficient.records import Json, Program, Shape, TensorSpec


class StateSession(OwnedState, OfOneProcess, Closing):
    """A program on the host's CPUs that keeps state; see :class:`QEfficient.backends.base.Retaining`.

    Each state has its size from the program's shapes, the largest of each dim. A dim that a state has is fixed; every
    other is free up to its largest size there, the batch too, but for ``strict``.

    After a :class:`QEfficient.errors.DeviceError` of a run every slot's state is undefined. A second owner is not
    served: calls of other threads wait, but what they run changes the same state.

    Args:
        program: A folder whose graph the runtime can load.
        strict: Take only the compiled shapes.

    Attributes:
        inputs, outputs: What :meth:`run` takes and gives: the graph's without state.
        states: The state inputs with their sizes.
    """

    backend: str  # name of its backend
    kept: str | None = None
    """Dtype that floating-point state is kept in, and read and written; ``None``: as the graph has it."""
    initial: float = 0.0
    """What state starts out as. Nothing may depend on it: tests set it to NaN, for sessions that are opened then."""

    def __init__(self, program: Program, *, strict: bool) -> None:
        manifest = program.manifest
        self._program, self._specs = program, (manifest.inputs, manifest.outputs)
        self._pairs = state_pairs(*self._specs)
        self.inputs = tuple(spec for spec in manifest.inputs if spec.name not in self._pairs)
        self.outputs = tuple(spec for spec in manifest.outputs if spec.name not in self._pairs.values())
        self.shapes, self.fixed_shapes, self.slots = manifest.shapes, strict, 1
        largest = Shape.largest(manifest.shapes)
        found = [spec for spec in manifest.inputs if spec.name in self._pairs]
        sizes = {dim: largest.sizes[dim] for spec in found for dim in spec.shape if isinstance(dim, str)}
        self._input_check = InputCheck(self.inputs, self.shapes, fixed_shapes=strict, state=sizes)
        sized = [replace(spec, shape=spec.at(largest)) for spec in found]
        self.states = tuple(self._as_kept(spec) for spec in sized)
        self._buffers = {spec.name: self.new_buffer(spec) for spec in sized}
        self._cpus = usable_cpus()
        self._own()
        with huge_pages.tracked():
            self._open()
        _OPEN.add(self)

    @abstractmethod
    def _open(self) -> None:
        """Loads the program, and lets its runs read and write the buffers."""

    @abstractmethod
    def _call(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Runs checked arrays, and leaves the new state in the buffers."""

    @abstractmethod
    def _free(self) -> None:
        """Lets go of what the runtime holds."""

    @abstractmethod
    def _facts(self) -> dict[str, Json]:
        """What ``report`` says of the runtime."""

    def new_buffer(self, spec: TensorSpec) -> NDArray[np.generic]:
        """A buffer for a state of these sizes, filled with :attr:`initial`."""
        shape = tuple(map(int, spec.shape))
        if self.initial == 0.0:
            return huge_pages.zeros(shape, spec.dtype)
        return np.full(shape, self.initial if np.dtype(spec.dtype).kind == "f" else 0, spec.dtype)

    def _as_kept(self, spec: TensorSpec) -> TensorSpec:
        return replace(spec, dtype=self.kept or spec.dtype) if np.dtype(spec.dtype).kind == "f" else spec

    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → new array out; state is neither given nor taken."""
        with self._owned():
            self._input_check.check(arrays)
            return self._call(arrays)

    def read(self, slot: int) -> Arrays:
        """What a slot holds: name → a copy, without the first axis."""
        check_slot(slot, self.states)
        with self._owned():
            return {spec.name: self._read(spec, self._buffers[spec.name][slot]) for spec in self.states}

    def write(self, slot: int, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Makes a slot hold ``state``, as :meth:`read` gives it."""
        check_slot(slot, self.states)
        check_state(state, self.states)
        with self._owned():
            for name, buffer in self._buffers.items():
                self._write(buffer[slot], state[name])

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        """Makes slot ``target`` hold what ``source`` does: all, or its first ``length`` positions, source and rings."""
        check_slot(source, self.states)
        check_slot(target, self.states)
        with self._owned():
            self._copy(source, target, length)

    def clear(self, slot: int | None = None) -> None:
        """Zeroes a slot, or all."""
        if slot is not None:
            check_slot(slot, self.states)
        with self._owned():
            for buffer in self._buffers.values():
                buffer[slice(None) if slot is None else slot] = 0

    def _read(self, spec: TensorSpec, held: NDArray[np.generic]) -> NDArray[np.generic]:
        """A copy of what a slot's part of a buffer holds, as ``spec``, one of :attr:`states`, says."""
        return held.astype(spec.dtype)

    def _write(self, held: NDArray[np.generic], state: NDArray[np.generic]) -> None:
        """Makes a slot's part of a buffer hold what :meth:`_read` gave."""
        held[...] = state

    def _copy(self, source: int, target: int, length: int | None) -> None:
        """Copies what a slot holds into another: all, or what its first positions need."""
        kept = [spec for spec in self._specs[0] if spec.name in self._buffers]
        copy_slot(kept, self._buffers, source, target, length)

    @property
    def bytes_held(self) -> int:
        """Bytes of all state, in the dtype that is kept."""
        return sum(map(self._bytes, self.states))

    def _bytes(self, spec: TensorSpec) -> int:
        return math.prod(map(int, spec.shape)) * np.dtype(spec.dtype).itemsize

    def report(self) -> dict[str, Json]:
        """Device, threads, bytes of state and runtime version."""
        return {
            "backend": self.backend,
            "device": "cpu",
            "threads": self._cpus,
            "strict": self.fixed_shapes,
            "bytes_held": self.bytes_held,
        } | self._facts()

    def close(self) -> None:
        """Frees the graph and the state. A run in flight finishes first; a second call does nothing."""
        if self._closed or fork.process() is not self._process:  # in a child it is the parent's to close
            return
        with self._lock:
            self._closed = True
            self._free()
            self._buffers.clear()


_OPEN: weakref.WeakSet[StateSession] = weakref.WeakSet()


def _exiting() -> None:
    """No daemon thread may be inside the runtime when the interpreter ends."""
    ENDING.set()
    for session in list(_OPEN):
        with session._lock:
            pass


atexit.register(_exiting)
