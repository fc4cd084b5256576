"""One activated copy of a program on its device or devices, and the slots that its inferences run in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.qaic import descriptor
from QEfficient.backends.qaic.descriptor import Binding, Shape
from QEfficient.backends.qaic.native import Runtime, guarded
from QEfficient.errors import BackendUnavailableError, DeviceError

DATA_PATH_TIMEOUT_MS = 60_000
TIMEOUT_PROPERTIES = ("dataPathTimeoutMs", "SubmitRetryTimeoutMs")  # newer SDKs have the first, older the second
_log = logging.getLogger(__name__)

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Layout:
    """One compiled shape: its buffers, and what is made of them.

    Attributes:
        shapes: One a binding, in order of index.
        inputs: The bindings that are inputs.
        outputs: The others, each with its shape.
        results: Output name → dtype that the caller gets, of those that he gets.
    """

    shapes: tuple[Shape, ...]
    inputs: tuple[Binding, ...]
    outputs: tuple[tuple[Binding, Shape], ...]
    results: Mapping[str, np.dtype[Any]]

    @classmethod
    def of(cls, bindings: Sequence[Binding], shapes: Sequence[Shape], results: Mapping[str, str]) -> Self:
        """Of a program's bindings in one of its shapes."""
        both = list(zip(bindings, shapes, strict=True))
        outputs = tuple((binding, shape) for binding, shape in both if not binding.is_input)
        dtypes = {name: np.dtype(dtype) for name, dtype in results.items()}
        return cls(tuple(shapes), tuple(b for b, _ in both if b.is_input), outputs, dtypes)


class Slot:
    """One ExecObj. It holds one inference in flight at most, so whoever takes a slot has it alone."""

    def __init__(self, owner: Replica) -> None:
        self.owner = owner
        self.exec_obj: Any = owner.make_exec_obj()
        self._layout: Layout | None = None
        self._held: list[tuple[int, Array]] = []  # what the card reads and writes while an inference is in flight
        self._made: dict[Layout, tuple[list[Any], Any]] = {}  # native buffers and dims, used again

    def start(self, layout: Layout, arrays: Mapping[str, Array]) -> None:
        """Queue one inference. Neither the arrays nor the slot may be touched until :meth:`finish`.

        Raises:
            DeviceError: A step failed. The slot must be dropped.
        """
        owner, call = self.owner, self.owner.runtime.call
        self._layout = layout
        self._held = [(b.index, np.ascontiguousarray(arrays[b.name], b.dtype)) for b in layout.inputs]
        if owner.in_place is None:
            owner.in_place = self._takes_arrays(layout)
        if owner.in_place:
            self._held += [(b.index, _unwritten(shape, b.dtype)) for b, shape in layout.outputs]
            call(self.exec_obj.setData, self._held, doing="take the arrays", do=_SHAPES)
        else:
            with guarded("take the buffers", do=_SHAPES):
                buffers, dims = self._buffers(layout)
            call(self.exec_obj.setData, buffers, dims, doing="take the buffers", do=_SHAPES)
        call(owner.queue.enqueue, self.exec_obj, doing="queue the inference", do=_DEVICE)

    def _takes_arrays(self, layout: Layout) -> bool:
        """Whether ``setData`` has the newer form. Only a call can tell, and the next one replaces what this one set."""
        outputs = [(b.index, _unwritten(shape, b.dtype)) for b, shape in layout.outputs]
        try:
            status = self.exec_obj.setData([*self._held, *outputs])
        except Exception as error:  # a pybind module throws TypeError for arguments of no known form
            _log.debug("setData takes no arrays: %s", error)
            return False
        return bool(status == self.owner.runtime.qaicrt.QStatus.QS_SUCCESS)

    def _buffers(self, layout: Layout) -> tuple[Any, Any]:
        qaicrt = self.owner.runtime.qaicrt
        if layout not in self._made:
            bindings = self.owner.descriptor.bindings
            dims = [(b.item_size, list(shape)) for b, shape in zip(bindings, layout.shapes, strict=True)]
            buffers: list[Any] = [None] * len(bindings)
            for binding, shape in layout.outputs:
                buffers[binding.index] = qaicrt.QBuffer(bytes(binding.bytes_of(shape)))  # gives its size
            self._made[layout] = buffers, qaicrt.BufferDimensionsVecRef(dims)
        buffers, native_dims = self._made[layout]
        for index, array in self._held:
            buffers[index] = qaicrt.QBuffer(array.tobytes())
        return buffers, native_dims

    def finish(self) -> dict[str, Array]:
        """Wait for the inference.

        Returns:
            Output name → array, which the caller owns.

        Raises:
            DeviceError: A step failed. The slot must be dropped.
        """
        call, layout = self.owner.runtime.call, self._layout
        assert layout is not None
        call(self.exec_obj.waitForCompletion, doing="finish the inference", do=_WAIT)
        if self.owner.in_place:
            written = dict(self._held)
            found = {b.name: written[b.index] for b, _ in layout.outputs}
        else:
            buffers = call(self.exec_obj.getData, doing="hand out the results", do=_DEVICE)
            found = {b.name: from_buffer(buffers, b, shape).copy() for b, shape in layout.outputs}
        self._held = []
        return {name: found[name].astype(dtype, copy=False) for name, dtype in layout.results.items()}

    def execute(self, buffers: Sequence[bytes], shapes: Sequence[Shape]) -> Sequence[Any]:
        """Run one inference on buffers that the caller made.

        Args:
            buffers: One a binding, inputs and outputs alike, in order of index; outputs only give their size.
            shapes: One a binding.

        Returns:
            All buffers, in order of index.

        Raises:
            DeviceError: A step failed. The slot must be dropped.
        """
        owner, call, qaicrt = self.owner, self.owner.runtime.call, self.owner.runtime.qaicrt
        sizes = [binding.item_size for binding in owner.descriptor.bindings]
        with guarded("take the buffers", do=_SHAPES):
            native = [qaicrt.QBuffer(buffer) for buffer in buffers]
            dims = qaicrt.BufferDimensionsVecRef([(n, list(s)) for n, s in zip(sizes, shapes, strict=True)])
        call(self.exec_obj.setData, native, dims, doing="take the buffers", do=_SHAPES)
        call(owner.queue.enqueue, self.exec_obj, doing="queue the inference", do=_DEVICE)
        call(self.exec_obj.waitForCompletion, doing="finish the inference", do=_WAIT)
        outputs: Sequence[Any] = call(self.exec_obj.getData, doing="hand out the results", do=_DEVICE)
        return outputs

    def drop(self) -> None:
        """Let the ExecObj go: after a failure, when its inference may still be in flight, or at the end."""
        self.exec_obj = None
        self._made.clear()
        if self._held:
            self.owner.abandoned.append(self._held)
            self._held = []

    def renew(self) -> bool:
        """A new ExecObj in place of one that was dropped. False when the runtime refuses."""
        try:
            self.exec_obj = self.owner.make_exec_obj()
        except DeviceError as error:
            _log.info("A slot of device(s) %s is lost: %s", list(self.owner.devices), error)
            return False
        return True


def _unwritten(shape: Shape, dtype: str) -> Array:
    """An array that the card fills. What it does not write can't be taken for a result: it is NaN."""
    return np.full(shape, np.nan, dtype) if np.dtype(dtype).kind == "f" else np.zeros(shape, dtype)


def from_buffer(buffers: Sequence[Any], binding: Binding, shape: Shape) -> Array:
    """The array of one binding, read-only.

    Raises:
        DeviceError: The buffer has another size than the shape.
    """
    found = bytes(buffers[binding.index]) if binding.index < len(buffers) else None
    if found is None or len(found) != binding.bytes_of(shape):
        raise DeviceError(
            f"The card returned a buffer of another size for {binding.name!r}.",
            got="none" if found is None else len(found),
            allowed=f"{binding.bytes_of(shape)} bytes, for {binding.dtype} {list(shape)}",
            do="check the device with qaic-util -q, and compile the program again",
        )
    return np.frombuffer(found, binding.dtype).reshape(shape)


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
        try:
            self.runtime.call(self._program.deactivate, doing="deactivate the program")
        except DeviceError:
            self._active = False
            raise
        self._active = False  # not before: after Ctrl-C it is asked again


_CORES = "free cores on the device (qaic-util -q shows them), use other device_ids, or compile with fewer num_cores"
