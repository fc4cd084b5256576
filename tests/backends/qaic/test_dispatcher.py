"""The dispatcher alone, with slots that do as a test says: what a fake device brings about too rarely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from QEfficient.backends.qaic import slot as slot_module
from QEfficient.backends.qaic.dispatch import Dispatcher
from QEfficient.backends.qaic.worker import Inference
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

    def activate(self) -> None:
        pass

    def deactivate(self) -> None:
        pass


class Slot:
    """Runs what an inference brings: ``start`` and ``finish``, functions of the device's number."""

    works = True

    def __init__(self, owner: Device) -> None:
        self.owner = owner
        self._finish: Callable[[int], object] = int

    def start(self, layout: Any, arrays: Any) -> None:
        self._finish = arrays["finish"]
        arrays["start"](self.owner.number)

    def finish(self) -> dict[str, object]:
        return {"output": self._finish(self.owner.number)}

    def renew(self) -> None:
        self.works = self.owner.renews

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


def inference(finish: Callable[[int], object] = int, start: Callable[[int], object] = int) -> Inference:
    layout: Any = None
    arrays: Any = {"finish": finish, "start": start}
    return Inference(layout, arrays)


def outcome(future: Future[dict[str, Any]]) -> object:
    error = future.exception(WAIT)
    return future.result()["output"] if error is None else type(error)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Dispatcher, Device, Device]]:
    monkeypatch.setattr(slot_module, "Slot", Slot)
    devices: Any = Device(0), Device(1)
    dispatcher = Dispatcher(devices, 1)
    yield dispatcher, *devices
    closing = threading.Thread(target=dispatcher.close, daemon=True)
    closing.start()
    closing.join(WAIT)
    assert not closing.is_alive(), "close() waits for an inference that nobody ends"


def test_an_inference_that_waits_for_a_device_which_is_lost_by_then(two: tuple[Dispatcher, Device, Device]) -> None:
    dispatcher, _, second = two
    second.renews = False
    first_gate, second_gate = Gate(breaks(0)), Gate(breaks(1))
    fails, other = inference(first_gate), inference(second_gate)
    dispatcher.submit(fails)
    dispatcher.submit(other)
    assert first_gate.reached.wait(WAIT) and second_gate.reached.wait(WAIT)
    first_gate.opened.set()  # it waits for the second device, which is busy
    while not fails.tried:
        time.sleep(0.001)
    second_gate.opened.set()  # and is lost now; what ran there is tried on the first
    assert outcome(fails.future) is DeviceError
    assert outcome(other.future) == 0
    later = inference()
    dispatcher.submit(later)
    assert outcome(later.future) == 0


@pytest.mark.parametrize("background", [True, False])
def test_an_inference_that_can_not_start_harms_nobody_else(
    two: tuple[Dispatcher, Device, Device], background: bool
) -> None:
    dispatcher, *_ = two
    gates = Gate(), Gate()
    running = [inference(gate) for gate in gates]
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda one=one: results.append(dispatcher.run(one)["output"])) for one in running
    ]
    for one, thread in zip(running, threads, strict=True):
        dispatcher.submit(one) if background else thread.start()
    assert all(gate.reached.wait(WAIT) for gate in gates)
    large = inference(start=breaks(0, 1, error=MemoryError))
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
        later = inference()
        dispatcher.submit(later)
        assert outcome(later.future) in (0, 1)


def test_ctrl_c_while_inferences_are_handed_round_stops_no_later_round(
    two: tuple[Dispatcher, Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher, *_ = two

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dispatcher, "_assign", interrupted)
        dispatcher.submit(inference())
    fails = inference(breaks(0))
    dispatcher.submit(fails)
    assert outcome(fails.future) == 1  # tried again on the other device


def test_ctrl_c_behind_an_inference_leaves_nothing_that_close_waits_for(
    two: tuple[Dispatcher, Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher, *_ = two

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    one = inference()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dispatcher, "_clear_doubts", interrupted)
        dispatcher.run(one)
    assert outcome(one.future) is KeyboardInterrupt
    assert dispatcher.run(inference())["output"] == 0


def test_where_no_thread_can_be_started_the_caller_s_own_runs_it(
    two: tuple[Dispatcher, Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher, *_ = two

    def refuses(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one, gate = inference(), Gate(breaks(0))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        dispatcher.submit(one)
        assert one.future.done() and outcome(one.future) == 0
    retried = inference(gate)
    dispatcher.submit(retried)
    assert gate.reached.wait(WAIT)
    with monkeypatch.context() as patch:  # it would go to the other device, which has no thread yet
        patch.setattr(threading.Thread, "start", refuses)
        gate.opened.set()
        assert outcome(retried.future) == 1
    later = inference()
    dispatcher.submit(later)
    assert outcome(later.future) == 1  # the other device has failed


def test_what_a_failing_device_was_assigned_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_module, "Slot", Slot)
    devices: Any = Device(0), Device(1)
    dispatcher, gate, seen = Dispatcher(devices, 2), Gate(breaks(0)), list[int]()
    fails = inference(start=gate)
    others = [inference(start=seen.append) for _ in range(3)]
    for one in (fails, *others):
        dispatcher.submit(one)
    assert gate.reached.wait(WAIT)  # the first is being started, and a second one waits behind it on that device
    gate.opened.set()
    assert {outcome(one.future) for one in (fails, *others)} == {1} and seen == [1, 1, 1]
    (lost,) = cast("list[dict[str, Any]]", dispatcher.report()["lost"])
    assert lost["devices"] == [0]
    dispatcher.close()


def test_a_leased_slot_is_its_holder_s_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_module, "Slot", Slot)
    device: Any = Device(0)
    slots = slot_module.Slots(device, 2)
    first, second = slots.lease(), slots.lease()
    assert first is not second and (slots.idle, slots.leased, slots.working) == (0, 2, 2)
    slots.give_back(first)
    assert slots.lease() is first
    device.renews = False
    first.renew()
    slots.give_back(first)  # it is gone
    slots.give_back(second)
    assert (slots.idle, slots.leased, slots.working) == (1, 0, 1)
    assert slots.lease() is second


def test_what_was_abandoned_is_not_tried_again_behind_a_close(two: tuple[Dispatcher, Device, Device]) -> None:
    """Its caller was interrupted, so that nobody waits for it; then its device fails."""
    dispatcher, *_ = two
    gate, tried = Gate(then=breaks(0)), []

    def finish(device: int) -> object:
        tried.append(device)
        return gate(device) if device == 0 else device

    lost = inference(finish)
    dispatcher.submit(lost)
    assert gate.reached.wait(WAIT)
    lost.abandon(KeyboardInterrupt())
    closing = threading.Thread(target=dispatcher.close)
    closing.start()
    gate.opened.set()
    closing.join(WAIT)
    assert not closing.is_alive() and tried == [0]
    assert [worker.slots.leased for worker in dispatcher._workers] == [0, 0]
