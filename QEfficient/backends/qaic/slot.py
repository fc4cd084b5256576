"""What an inference runs in: a slot, which is leased to one holder at a time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.qaic.descriptor import Binding, Dims
from QEfficient.backends.qaic.native import guarded
from QEfficient.backends.qaic.replica import Replica
from QEfficient.errors import DeviceError

_log = logging.getLogger(__name__)

Array = NDArray[Any]
SKIPPED: Dims = (0,)
"""The dims of a binding that is passed no buffer."""


@dataclass(frozen=True, eq=False)
class Layout:
    """One compiled shape: its buffers, and what is made of them.

    Attributes:
        full: One shape a binding, in order of index.
        shapes: The same, :data:`SKIPPED` for what is skipped.
        inputs: The bindings that are inputs, without those that are skipped.
        outputs: The others that are not skipped, each with its shape.
        skipped: Indices of the bindings that are passed no buffer: state that stays on the device.
        results: Output name → dtype that the caller gets, of those that he gets.
    """

    full: tuple[Dims, ...]
    shapes: tuple[Dims, ...]
    inputs: tuple[Binding, ...]
    outputs: tuple[tuple[Binding, Dims], ...]
    skipped: tuple[int, ...]
    results: Mapping[str, np.dtype[Any]]

    @classmethod
    def of(
        cls,
        bindings: Sequence[Binding],
        shapes: Sequence[Dims],
        results: Mapping[str, str],
        *,
        skipped: Collection[str] = (),
    ) -> Self:
        """Of a program's bindings in one of its shapes; ``skipped`` are names."""
        both = [(b, SKIPPED if b.name in skipped else shape) for b, shape in zip(bindings, shapes, strict=True)]
        passed = [(binding, shape) for binding, shape in both if binding.name not in skipped]
        return cls(
            full=tuple(shapes),
            shapes=tuple(shape for _, shape in both),
            inputs=tuple(binding for binding, _ in passed if binding.is_input),
            outputs=tuple((binding, shape) for binding, shape in passed if not binding.is_input),
            skipped=tuple(binding.index for binding, _ in both if binding.name in skipped),
            results={name: np.dtype(dtype) for name, dtype in results.items()},
        )

    @property
    def bytes_in(self) -> int:
        """Bytes that a run takes to the device."""
        return sum(binding.bytes_of(self.full[binding.index]) for binding in self.inputs)

    @property
    def bytes_out(self) -> int:
        """Bytes that it brings back."""
        return sum(binding.bytes_of(shape) for binding, shape in self.outputs)


class Slot:
    """One ExecObj of a replica, and the buffers set on it. It has one inference in flight at most."""

    def __init__(self, owner: Replica) -> None:
        self.owner = owner
        self.exec_obj: Any = owner.make_exec_obj()
        self._layout: Layout | None = None
        self._held: list[tuple[int, Array]] = []  # what the card reads and writes while an inference is in flight
        self._made: dict[Layout, tuple[list[Any], Any]] = {}  # native buffers and dims, used again

    def start(self, layout: Layout, arrays: Mapping[str, Array]) -> None:
        """Queue one inference. Neither the arrays nor the slot may be touched until :meth:`finish`.

        Raises:
            DeviceError: A step failed. The slot must be renewed.
        """
        owner = self.owner
        self._layout = layout
        self._held = [(b.index, np.ascontiguousarray(arrays[b.name], b.dtype)) for b in layout.inputs]
        if owner.in_place is None:
            owner.in_place = self._takes_arrays(layout)
        if owner.in_place:
            self._held += [(b.index, _unwritten(shape, b.dtype)) for b, shape in layout.outputs]
            self._enqueue(self._held)
        else:
            with guarded("take the buffers", do=_SHAPES):
                buffers, dims = self._buffers(layout)
            self._enqueue(buffers, dims)

    def _enqueue(self, *data: Any) -> None:
        owner, call = self.owner, self.owner.runtime.call
        call(self.exec_obj.setData, *data, doing="take the buffers", do=_SHAPES)
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
            dims = self.owner.descriptor.sized(layout.shapes)
            buffers: list[Any] = [None] * len(dims)
            for binding, shape in layout.outputs:
                buffers[binding.index] = qaicrt.QBuffer(bytes(binding.bytes_of(shape)))  # gives its size
            for index in layout.skipped:
                buffers[index] = qaicrt.QBuffer(b"")
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
            DeviceError: A step failed. The slot must be renewed.
        """
        layout = self._layout
        assert layout is not None
        self._wait()
        if self.owner.in_place:
            written = dict(self._held)
            found = {b.name: written[b.index] for b, _ in layout.outputs}
        else:
            buffers = self._fetch()
            found = {b.name: from_buffer(buffers, b, shape).copy() for b, shape in layout.outputs}
        self._held = []
        return {name: found[name].astype(dtype, copy=False) for name, dtype in layout.results.items()}

    def execute(self, buffers: Sequence[bytes], shapes: Sequence[Dims]) -> Sequence[Any]:
        """Run one inference on buffers that the caller made.

        Args:
            buffers: One a binding, inputs and outputs alike, in order of index; outputs only give their size.
            shapes: One a binding.

        Returns:
            All buffers, in order of index.

        Raises:
            DeviceError: A step failed. The slot must be renewed.
        """
        qaicrt = self.owner.runtime.qaicrt
        with guarded("take the buffers", do=_SHAPES):
            native = [qaicrt.QBuffer(buffer) for buffer in buffers]
            dims = qaicrt.BufferDimensionsVecRef(self.owner.descriptor.sized(shapes))
        self._enqueue(native, dims)
        self._wait()
        return self._fetch()

    def _wait(self) -> None:
        self.owner.runtime.call(self.exec_obj.waitForCompletion, doing="finish the inference", do=_WAIT)

    def _fetch(self) -> Sequence[Any]:
        outputs: Sequence[Any] = self.owner.runtime.call(
            self.exec_obj.getData, doing="hand out the results", do=_DEVICE
        )
        return outputs

    def forget(self, layout: Layout) -> None:
        """Let the buffers of a layout go, which are else kept for its next run."""
        self._made.pop(layout, None)

    @property
    def works(self) -> bool:
        """Whether it has an ExecObj."""
        return self.exec_obj is not None

    def drop(self) -> None:
        """Let the ExecObj go: after a failure, when its inference may still be in flight, or at the end."""
        self.exec_obj = None
        self._made.clear()
        if self._held:
            self.owner.abandoned.append(self._held)
            self._held = []

    def renew(self) -> None:
        """A new ExecObj, since the inference that failed may still be in flight on this one.

        Where the runtime refuses, there is none, and the slot works no more.
        """
        self.drop()
        try:
            self.exec_obj = self.owner.make_exec_obj()
        except DeviceError as error:
            _log.info("A slot of device(s) %s is lost: %s", list(self.owner.devices), error)


class Slots:
    """The slots of one active replica, each idle or leased.

    A lease is one slot in the hands of one holder: nobody else uses its ExecObj and buffers until he gives it back,
    after one inference or after many. Not safe from many threads by itself.

    Args:
        replica: Must stay active as long as there are slots.
        number: How many to make.

    Attributes:
        leased: How many are with a holder.

    Raises:
        DeviceError: One can't be made.
    """

    def __init__(self, replica: Replica, number: int) -> None:
        self._idle: deque[Slot] = deque()
        self.leased = 0
        try:
            self._idle.extend(Slot(replica) for _ in range(number))
        except BaseException:
            self._idle.clear()  # the error's traceback keeps this object, and a replica with an ExecObj stays active
            raise

    @property
    def idle(self) -> int:
        """How many wait for a holder."""
        return len(self._idle)

    @property
    def working(self) -> int:
        """How many there are, idle and leased."""
        return len(self._idle) + self.leased

    def lease(self) -> Slot:
        """One of the idle slots. Its holder gives it back, after a failure of whatever kind renewed."""
        self.leased += 1
        return self._idle.popleft()

    def give_back(self, slot: Slot) -> None:
        """Ends a lease. A slot that does not work is none any more."""
        self.leased -= 1
        if slot.works:
            self._idle.append(slot)

    def drop(self) -> None:
        """Let every ExecObj go. None may be leased."""
        for slot in self._idle:
            slot.drop()
        self._idle.clear()


def _unwritten(shape: Dims, dtype: str) -> Array:
    """An array that the card fills. What it does not write can't be taken for a result: it is NaN."""
    return np.full(shape, np.nan, dtype) if np.dtype(dtype).kind == "f" else np.zeros(shape, dtype)


def from_buffer(buffers: Sequence[Any], binding: Binding, shape: Dims) -> Array:
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
