"""What the dispatcher hands around: an inference, and a replica with its slots."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from queue import SimpleQueue

from QEfficient.backends.qaic.replica import Array, Layout, Replica, Slot
from QEfficient.errors import DeviceError


class Job:
    """One inference.

    Args:
        layout: Its shape.
        arrays: Input name → array. Not to be changed until ``future`` is done.
    """

    __slots__ = ("arrays", "future", "layout", "started", "tried")

    def __init__(self, layout: Layout, arrays: Mapping[str, Array]) -> None:
        self.layout, self.arrays, self.started = layout, arrays, False
        self.future: Future[dict[str, Array]] = Future()
        self.tried: list[tuple[Lane, DeviceError]] = []  # where it failed, and how

    def start(self) -> bool:
        """Whether it is still wanted. From then on it can't be cancelled."""
        self.started = self.started or self.future.set_running_or_notify_cancel()
        return self.started


class Lane:
    """A replica and its slots."""

    def __init__(self, replica: Replica) -> None:
        self.replica, self.devices = replica, frozenset(replica.devices)
        self.idle: deque[Slot] = deque()
        self.flying: SimpleQueue[tuple[Slot, Job] | None] = SimpleQueue()  # what its thread waits for; None ends it
        self.thread: threading.Thread | None = None
        self.slots = self.busy = self.runs = 0  # in all; with an inference; finished inferences
        self.doubts = 0  # inferences that failed here and are tried elsewhere
        self.lost: str | None = None  # how it failed

    def takes(self, job: Job) -> bool:
        """Whether the job may go here. A lane in doubt takes only those that failed on other devices."""
        if job.tried:
            return self.lost is None and all(self.devices.isdisjoint(lane.devices) for lane, _ in job.tried)
        return self.lost is None and not self.doubts
