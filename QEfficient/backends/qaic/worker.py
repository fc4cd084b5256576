"""What the dispatcher hands around: inferences, and the workers that run them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from QEfficient.backends.qaic.replica import Replica
from QEfficient.backends.qaic.slot import Array, Layout, Slot, Slots
from QEfficient.errors import DeviceError


class Inference:
    """One inference that a caller wants.

    Args:
        layout: Its shape.
        arrays: Input name → array. Not to be changed until ``future`` is done.
    """

    __slots__ = ("arrays", "future", "layout", "started", "tried")

    def __init__(self, layout: Layout, arrays: Mapping[str, Array]) -> None:
        self.layout, self.arrays, self.started = layout, arrays, False
        self.future: Future[dict[str, Array]] = Future()
        self.tried: list[tuple[Worker, DeviceError]] = []  # where it failed, and how

    def start(self) -> bool:
        """Whether it is still wanted. From then on it can't be cancelled."""
        self.started = self.started or self.future.set_running_or_notify_cancel()
        return self.started

    def succeed(self, results: dict[str, Array]) -> None:
        """Give the caller the results."""
        with suppress(InvalidStateError):  # it was abandoned
            self.future.set_result(results)

    def fail(self, error: BaseException) -> None:
        """Give the caller the error."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def abandon(self, error: BaseException) -> None:
        """Its caller was interrupted, by Ctrl-C say: it need not start any more, and nobody waits for it."""
        if not self.future.cancel():
            self.fail(error)


class Worker:
    """A replica with its slots, its thread, and what the dispatcher knows of it.

    Args:
        replica: An active one.
        slots: How many inferences it may have in flight.
        lock: The dispatcher's, which guards all that changes here.

    Raises:
        DeviceError: A slot can't be made.
    """

    def __init__(self, replica: Replica, slots: int, lock: threading.Lock) -> None:
        self.replica, self.devices = replica, frozenset(replica.devices)
        self.slots = Slots(replica, slots)
        self.assigned: deque[tuple[Slot, Inference]] = deque()  # not started yet
        self.thread: threading.Thread | None = None
        self.wake = threading.Condition(lock)  # for the thread, when it has nothing to do
        self.stopped = False
        self.runs = 0  # finished inferences
        self.doubts = 0  # inferences that failed here and are tried elsewhere
        self.lost: str | None = None  # how it failed

    def may_take(self, inference: Inference) -> bool:
        """Whether the inference can ever go here: not where it failed, nor on that device again."""
        return self.lost is None and all(self.devices.isdisjoint(other.devices) for other, _ in inference.tried)

    def takes(self, inference: Inference) -> bool:
        """Whether it can go here now. A worker in doubt takes only those that failed on other devices."""
        if not self.slots.idle or not self.may_take(inference):
            return False
        return bool(inference.tried) or not self.doubts

    def assign(self, inference: Inference) -> None:
        """Lease a slot to the inference, and wake the thread that starts it."""
        self.assigned.append((self.slots.lease(), inference))
        self.wake.notify()
