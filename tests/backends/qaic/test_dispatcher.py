"""The dispatcher alone, with slots that do as a test says: what a fake device brings about too rarely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from QEfficient.backends.qaic import dispatch
from QEfficient.backends.qaic.dispatch import Dispatcher
from QEfficient.backends.qaic.lane import Job
from QEfficient.errors import DeviceError

WAIT = 20.0


@dataclass(eq=False)
class Device:
    """A replica on one device."""

    number: int
    renews: bool = True

    @property
    def devices(self) -> list[int]:
        return [self.number]


class Slot:
    """Runs what a job brings: ``start`` and ``finish``, functions of the device's number."""

    def __init__(self, owner: Device) -> None:
        self.owner = owner
        self._finish: Callable[[int], object] = int

    def start(self, layout: Any, arrays: Any) -> None:
        self._finish = arrays["finish"]
        arrays["start"](self.owner.number)

    def finish(self) -> dict[str, object]:
        return {"output": self._finish(self.owner.number)}

    def renew(self) -> bool:
        return self.owner.renews

    def drop(self) -> None:
        pass


@dataclass
class Gate:
    """A finish that waits until it is opened, then does as ``then`` says."""

    then: Callable[[int], object] = int
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self, device: int) -> object:
        self.reached.set()
        assert self.opened.wait(WAIT)
        return self.then(device)


def breaks(*numbers: int, error: type[Exception] = DeviceError) -> Callable[[int], object]:
    """Fails on these devices."""

    def run(device: int) -> object:
        if device in numbers:
            raise DeviceError("It broke.", got=f"device {device}") if error is DeviceError else error("no room")
        return device

    return run


def job(finish: Callable[[int], object] = int, start: Callable[[int], object] = int) -> Job:
    layout: Any = None
    arrays: Any = {"finish": finish, "start": start}
    return Job(layout, arrays)


def outcome(future: Future[dict[str, Any]]) -> object:
    error = future.exception(WAIT)
    return future.result()["output"] if error is None else type(error)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Dispatcher, Device, Device]]:
    monkeypatch.setattr(dispatch, "Slot", Slot)
    devices: Any = Device(0), Device(1)
    dispatcher = Dispatcher(devices, 1)
    yield dispatcher, *devices
    closing = threading.Thread(target=dispatcher.close, daemon=True)
    closing.start()
    closing.join(WAIT)
    assert not closing.is_alive(), "close() waits for a job that nobody ends"


def test_a_job_that_waits_for_a_device_which_is_lost_by_then(two: tuple[Dispatcher, Device, Device]) -> None:
    dispatcher, _, second = two
    second.renews = False
    first_gate, second_gate = Gate(breaks(0)), Gate(breaks(1))
    fails, other = job(first_gate), job(second_gate)
    dispatcher.submit(fails)
    dispatcher.submit(other)
    assert first_gate.reached.wait(WAIT) and second_gate.reached.wait(WAIT)
    first_gate.opened.set()  # it waits for the second device, which is busy
    while not fails.tried:
        time.sleep(0.001)
    second_gate.opened.set()  # and is lost now; what ran there is tried on the first
    assert outcome(fails.future) is DeviceError
    assert outcome(other.future) == 0
    later = job()
    dispatcher.submit(later)
    assert outcome(later.future) == 0


@pytest.mark.parametrize("background", [True, False])
def test_a_job_that_can_not_start_harms_nobody_else(two: tuple[Dispatcher, Device, Device], background: bool) -> None:
    dispatcher, *_ = two
    gates = Gate(), Gate()
    running = [job(gate) for gate in gates]
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda one=one: results.append(dispatcher.run(one)["output"])) for one in running
    ]
    for one, thread in zip(running, threads, strict=True):
        dispatcher.submit(one) if background else thread.start()
    assert all(gate.reached.wait(WAIT) for gate in gates)
    large = job(start=breaks(0, 1, error=MemoryError))
    dispatcher.submit(large)
    for gate in gates:
        gate.opened.set()
    assert outcome(large.future) is MemoryError
    if background:
        assert {outcome(one.future) for one in running} == {0, 1}
    else:
        for thread in threads:
            thread.join(WAIT)
        assert sorted(map(str, results)) == ["0", "1"]
    for _ in range(4):
        later = job()
        dispatcher.submit(later)
        assert outcome(later.future) in (0, 1)


def test_ctrl_c_while_jobs_are_handed_round_stops_no_later_round(
    two: tuple[Dispatcher, Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher, *_ = two

    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dispatcher, "_match", interrupted)
        dispatcher._pump()
    fails = job(breaks(0))
    dispatcher.submit(fails)
    assert outcome(fails.future) == 1  # tried again on the other device
