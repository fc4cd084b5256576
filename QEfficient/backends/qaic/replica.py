"""One activated copy of a program, on a device or on several that it is partitioned over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from QEfficient.backends.qaic import descriptor
from QEfficient.backends.qaic.native import Runtime, guarded
from QEfficient.errors import BackendUnavailableError, DeviceError

DATA_PATH_TIMEOUT_MS = 60_000
TIMEOUT_PROPERTIES = ("dataPathTimeoutMs", "SubmitRetryTimeoutMs")  # newer SDKs have the first, older the second


class Replica:
    """A program on one device, or on several that it is partitioned over.

    Args:
        runtime: The loaded modules.
        folder: The folder that holds ``programqpc.bin``.
        devices: Device ids; ``(0, 1)`` is one program over two devices.
        timeout_ms: How long the runtime waits for the device.
        debug: Ask the runtime for debug logs.

    Attributes:
        in_place: Whether ``setData`` has its newer form, which uses arrays as they are; ``None`` before the first one.
        abandoned: Arrays of inferences that nobody waits for any more, but that the card may still use.
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
        self.in_place: bool | None = None
        self.abandoned: list[Any] = []
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
        try:
            self.runtime.call(self._program.deactivate, doing="deactivate the program")
        except DeviceError:
            self._active = False
            raise
        self._active = False  # not before: after Ctrl-C it is asked again


_CORES = "free cores on the device (qaic-util -q shows them), use other device_ids, or compile with fewer num_cores"
