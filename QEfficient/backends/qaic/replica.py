"""One activated copy of a program on its device or devices, and the slots that its inferences run in."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from QEfficient.backends.qaic import descriptor
from QEfficient.backends.qaic.descriptor import Shape
from QEfficient.backends.qaic.native import Runtime, guarded
from QEfficient.errors import BackendUnavailableError, DeviceError

DATA_PATH_TIMEOUT_MS = 60_000
TIMEOUT_PROPERTIES = ("dataPathTimeoutMs", "SubmitRetryTimeoutMs")  # newer SDKs have the first, older the second
_log = logging.getLogger(__name__)


class Slot:
    """One ExecObj. It holds one inference in flight at most, so whoever takes a slot has it alone."""

    def __init__(self, owner: Replica) -> None:
        self.owner = owner
        self.exec_obj: Any = owner.make_exec_obj()

    def execute(self, buffers: Sequence[bytes], shapes: Sequence[Shape]) -> list[bytes]:
        """Run one inference.

        Args:
            buffers: One a binding, inputs and outputs alike, in order of index; outputs only give their size.
            shapes: One a binding.

        Returns:
            Copies of all buffers, in order of index.

        Raises:
            DeviceError: A step failed. The slot must not be used again.
        """
        owner, call, qaicrt = self.owner, self.owner.runtime.call, self.owner.runtime.qaicrt
        sizes = [binding.item_size for binding in owner.descriptor.bindings]
        with guarded("take the buffers", do=_SHAPES):
            native = [qaicrt.QBuffer(buffer) for buffer in buffers]
            dims = qaicrt.BufferDimensionsVecRef([(n, list(s)) for n, s in zip(sizes, shapes, strict=True)])
        call(self.exec_obj.setData, native, dims, doing="take the buffers", do=_SHAPES)
        call(owner.queue.enqueue, self.exec_obj, doing="queue the inference", do=_DEVICE)
        call(self.exec_obj.waitForCompletion, doing="finish the inference", do=_WAIT)
        outputs = call(self.exec_obj.getData, doing="hand out the results", do=_DEVICE)
        return [bytes(output) for output in outputs]


_SHAPES = "pass shapes that the program was compiled for"
_DEVICE = "check the device with qaic-util -q, and its free cores"
_WAIT = "check the device with qaic-util -q; a longer timeout helps only if an inference really takes that long"


class Replica:
    """A program on one device, or on several that it is partitioned over.

    Args:
        runtime: The loaded modules.
        folder: The folder that holds ``programqpc.bin``.
        devices: Device ids; ``(0, 1)`` is one program over two devices.
        timeout_ms: How long the runtime waits for the device.
        debug: Ask the runtime for debug logs.
    """

    def __init__(
        self,
        runtime: Runtime,
        folder: Path,
        devices: Sequence[int],
        *,
        timeout_ms: int = DATA_PATH_TIMEOUT_MS,
        debug: bool = False,
    ) -> None:
        self.runtime, self.devices = runtime, tuple(devices)
        self._timeout_ms, self._active = timeout_ms, False
        qaicrt = runtime.qaicrt
        with guarded(f"open device(s) {list(devices)}"):
            self._context = qaicrt.Context(qaicrt.QIDList(list(devices)))
            self.queue = qaicrt.Queue(self._context, self.devices[0])
        if debug:
            runtime.call(self._context.setLogLevel, qaicrt.QLogLevel.QL_DEBUG, doing="set its log level")
        with guarded(f"open the program in {folder}", do="check the program's files, or compile it again"):
            self._qpc = qaicrt.Qpc(str(folder))
        self.descriptor = descriptor.read(runtime, self._qpc)
        self._program = self._make_program()

    def _make_program(self) -> Any:
        qaicrt, several = self.runtime.qaicrt, len(self.devices) > 1
        properties = qaicrt.QAicProgramProperties()
        for name in TIMEOUT_PROPERTIES:
            if hasattr(properties, name):
                setattr(properties, name, self._timeout_ms)
                break
        if several:
            if not hasattr(properties, "devMapping"):
                raise BackendUnavailableError(
                    "This SDK's runtime can't map one program to several devices.",
                    got="QAicProgramProperties without devMapping",
                    allowed="an SDK with devMapping",
                    do="install a newer SDK, or compile with num_devices=1",
                )
            properties.devMapping = ":".join(map(str, self.devices))
        with guarded(f"prepare the program for device(s) {list(self.devices)}"):
            return qaicrt.Program(self._context, None if several else self.devices[0], self._qpc, properties)

    @property
    def active(self) -> bool:
        """Whether it holds cores of its devices."""
        return self._active

    def activate(self) -> None:
        """Take the devices' cores. Again is no effect.

        Raises:
            DeviceError: Most often too few free cores.
        """
        if self._active:
            return
        self.runtime.call(self._program.load, doing="load the program", do=_CORES)
        self.runtime.call(self._program.activate, doing="activate the program", do=_CORES)
        self._active = True

    def make_exec_obj(self) -> Any:
        """A new ExecObj of the active program.

        Raises:
            DeviceError: The runtime refuses.
        """
        with guarded(f"start the program on device(s) {list(self.devices)}", do=_CORES):
            return self.runtime.qaicrt.ExecObj(self._context, self._program)

    def deactivate(self) -> None:
        """Give the cores back. Every ExecObj must be gone. Again is no effect.

        Raises:
            DeviceError: The runtime refuses.
        """
        if not self._active:
            return
        self._active = False
        self.runtime.call(self._program.deactivate, doing="deactivate the program")


_CORES = "free cores on the device (qaic-util -q shows them), use other device_ids, or compile with fewer num_cores"


def closed() -> DeviceError:
    """The error of a session that was closed."""
    return DeviceError(
        "The session is closed.", got="a run after close()", allowed="an open session", do="open the program again"
    )


def lost(replicas: int) -> DeviceError:
    """The error of a session none of whose slots works any more."""
    return DeviceError(
        "The session has lost its device.",
        got=f"every slot of {replicas} device group(s) failed",
        allowed="at least one slot that works",
        do="check the device with qaic-util -q, and open the program again",
    )


class SlotPool:
    """Slots of all replicas, handed out to one thread each, the longest idle first."""

    def __init__(self, replicas: Sequence[Replica], per_replica: int) -> None:
        self._replicas = replicas
        self._changed = threading.Condition()
        self._closed, self._all = False, 0
        self._free: deque[Slot] = deque()
        try:
            for _ in range(per_replica):  # interleaved, so that replicas take turns
                self._free.extend(Slot(replica) for replica in replicas)
        except DeviceError:
            self._free.clear()
            raise
        self._all = len(self._free)

    @property
    def size(self) -> int:
        """Slots that work."""
        return self._all

    def take(self) -> Slot:
        """Wait for a free slot.

        Raises:
            DeviceError: The pool is closed, or its last slot failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed or not self._all)
            if self._closed or not self._all:
                raise closed() if self._closed else lost(len(self._replicas))
            return self._free.popleft()

    def give(self, slot: Slot, *, failed: bool = False) -> None:
        """Return a slot. After a failure its ExecObj may still be in flight, so that a new one takes its place."""
        if failed:
            slot.exec_obj = None
            try:
                slot.exec_obj = slot.owner.make_exec_obj()
            except DeviceError as error:
                _log.warning("A slot is lost: %s", error)
        with self._changed:
            if slot.exec_obj is None:
                self._all -= 1
            else:
                self._free.append(slot)
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for inferences in flight, then drop every ExecObj."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._free) == self._all)
            for slot in self._free:
                slot.exec_obj = None
            self._free.clear()
            self._all = 0
