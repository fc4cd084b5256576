"""Many inferences at once: several devices, slow ones, failing ones, requests that fail, and what interrupts them."""

from __future__ import annotations

import _thread
import logging
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from QEfficient.backends.qaic import QaicBackend, native
from QEfficient.backends.qaic.dispatch import TRIES
from QEfficient.backends.qaic.sdk import Sdk
from QEfficient.backends.qaic.session import SLOTS, QaicSession
from QEfficient.errors import DeviceError
from QEfficient.records import MODEL, CompileOptions, Program, Rows, Target
from QEfficient.runtime.run import How, run_rows
from tests import tiny_graphs
from tests.backends.qaic.conftest import LONG, SHORT
from tests.sdk import FakeSdk, make_sdk

DEVICES = 8
CALM: dict[str, Any] = {"device_time_ms": 1, "fail_after": None, "poison": None, "status": {}, "throw": {}}
POISON = 49  # the largest id that tiny_graphs.feed gives


class Card:
    """A fake SDK that computes nothing, with a program of two shapes."""

    def __init__(self, folder: Path, generation: str) -> None:
        self.sdk: FakeSdk = make_sdk(folder / "sdk", generation=generation, devices=DEVICES, compute="echo")
        (folder / "program").mkdir()
        backend, model = QaicBackend(sdk=Sdk(self.sdk.root)), tiny_graphs.make(folder / "graph")
        target, options = Target("qaic", "fp16", 4), CompileOptions()
        self.program: Program = backend.compile(
            {MODEL: model}, {MODEL: [SHORT, LONG]}, target, options, folder / "program"
        )

    @property
    def fake(self) -> Any:
        """The loaded ``qaicrt``."""
        return native.load(Sdk(self.sdk.root)).qaicrt

    @contextmanager
    def open(self, *ids: int, **switches: Any) -> Iterator[QaicSession]:
        """A session on these devices; the switches hold from its first inference on."""
        self.sdk.set(**CALM)
        with QaicBackend(sdk=Sdk(self.sdk.root)).open(self.program, ids) as session:
            self.fake.report()
            self.sdk.set(**switches)
            yield session
            self.sdk.set(**CALM)

    def cores(self) -> set[int | None]:
        return {device.free_cores for device in native.devices(Sdk(self.sdk.root))}


@pytest.fixture(scope="module", params=["new", "old"])
def card(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Card:
    return Card(tmp_path_factory.mktemp(request.param), request.param)


def rows_of(number: int, seed: int = 0) -> Rows:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, LONG.length + 1, number).tolist()
    ids = [random.integers(1, POISON, length) for length in lengths]
    return Rows({"input_ids": ids, "attention_mask": [np.ones_like(row) for row in ids]}, LONG.length, tuple(lengths))


def alone(card: Card, rows: Rows) -> np.ndarray:
    """What the fake gives for each row by itself, without any client."""
    record = {"bindings": [{"dir": 1, "index": 2, "name": "output"}]}
    echo: Callable[..., dict[str, np.ndarray]] = card.fake.card.echo
    columns = [[rows.columns[name][row][None] for name in rows.columns] for row in range(len(rows))]
    return np.concatenate([echo(record, dict(enumerate(c)), {2: [1, tiny_graphs.DIM]})["output"] for c in columns])


def feed(seed: int) -> dict[str, np.ndarray]:
    return tiny_graphs.feed(8, 5, seed=seed)


def poisoned() -> dict[str, np.ndarray]:
    arrays = feed(0)
    arrays["input_ids"][0, 0] = 1_000
    return arrays


def most_in_flight(card: Card) -> list[int]:
    """Of each device that had any since the last report."""
    return [d["most_in_flight"] for d in card.fake.report()["devices"].values() if d["most_in_flight"]]


@contextmanager
def made_anew(card: Card) -> Iterator[list[None]]:
    """One entry an ExecObj that is made meanwhile: each failure costs one."""
    kind, found = card.fake.ExecObj, list[None]()
    before = kind.__init__

    def counted(self: Any, *arguments: Any) -> None:
        found.append(None)
        before(self, *arguments)

    kind.__init__ = counted
    try:
        yield found
    finally:
        kind.__init__ = before


# ------------------------------------------------------------------------------------------------ every row, once


@pytest.mark.parametrize("count", [1, 3, DEVICES])
def test_rows_come_back_in_order_from_any_number_of_devices(card: Card, count: int) -> None:
    rows = rows_of(200)
    with card.open(*range(count)) as session:
        assert np.array_equal(run_rows(session, rows, How())["output"], alone(card, rows))
        found = card.fake.report()["devices"]
        runs = cast("list[int]", session.report()["runs"])
        # rows of both buckets, two a batch
        assert sum(device["inferences"] for device in found.values()) == sum(runs) in (100, 101)
        assert all(device["most_in_flight"] <= SLOTS for device in found.values())


@pytest.mark.parametrize("count", [2, 4])
def test_a_device_that_fails_in_the_middle_loses_no_row(
    card: Card, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(200, seed=1)
    with card.open(*range(count), fail_after={"0": 7}) as session, caplog.at_level(logging.WARNING, "QEfficient"):
        assert np.array_equal(run_rows(session, rows, How())["output"], alone(card, rows))
        found, report = card.fake.report()["devices"], session.report()
        assert found[0]["inferences"] == 7
        assert sum(device["inferences"] for device in found.values()) in (100, 101)  # none was computed twice
        assert report["slots"] == SLOTS * (count - 1)
        (lost,) = cast("list[dict[str, Any]]", report["lost"])
        assert lost["devices"] == [0] and "QS_DEV_ERROR" in lost["error"]
        card.sdk.set(fail_after=None)
        assert session.run(feed(2))["output"].shape == (2, tiny_graphs.DIM)  # on another device, for good
        assert card.fake.report()["devices"][0]["inferences"] == 0
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"[0] failed and get no more work; {count - 1} of {count} device group(s) go on" in said
    assert card.cores() == {16}


def test_when_the_last_device_fails_the_caller_hears_of_it(card: Card) -> None:
    with card.open(0, 1, fail_after={"0": 3, "1": 6}) as session:
        with pytest.raises(DeviceError, match="QS_DEV_ERROR"):
            run_rows(session, rows_of(200), How())
        card.sdk.set(fail_after=None)
        assert session.run(feed(3))["output"].shape == (2, tiny_graphs.DIM)
    assert card.cores() == {16}


def test_a_device_that_takes_no_inference_at_all(card: Card) -> None:
    """It fails at once, so it is free again before any other: that must not draw all the work to it."""
    rows = rows_of(100, seed=2)
    with card.open(0, 1, 2, fail_after={"0": 0}) as session, made_anew(card) as slots:
        assert np.array_equal(run_rows(session, rows, How())["output"], alone(card, rows))
        assert cast("list[int]", session.report()["runs"])[0] == 0 and len(slots) == 1


def test_few_inferences_spread_over_all_devices(card: Card) -> None:
    with card.open(0, 1, 2, device_time_ms=20) as session:
        for future in [session.submit(feed(n)) for n in range(3)]:
            future.result(timeout=30)
        assert most_in_flight(card) == [1, 1, 1]


def test_a_slow_device_gets_less(card: Card) -> None:
    with card.open(0, 1, device_time_ms={"0": 20, "1": 4}) as session:
        rows = rows_of(160, seed=3)
        assert np.array_equal(run_rows(session, rows, How())["output"], alone(card, rows))
        slow, fast = cast("list[int]", session.report()["runs"])
        assert fast > 2 * slow > 0


@pytest.mark.parametrize("background", [False, True])
def test_a_request_that_fails_everywhere_costs_no_device(card: Card, background: bool) -> None:
    with card.open(*range(DEVICES), poison=1_000) as session:
        futures = [session.submit(feed(n)) for n in range(20)]
        for _ in range(3):
            with pytest.raises(DeviceError):
                if background:
                    session.submit(poisoned()).result(timeout=30)
                else:
                    session.run(poisoned())
        assert all(f.result(timeout=30)["output"].shape == (2, tiny_graphs.DIM) for f in futures)
        assert session.report()["lost"] == [] and session.report()["slots"] == DEVICES * SLOTS


def test_such_a_request_is_tried_on_few_devices(card: Card) -> None:
    with card.open(*range(DEVICES), status={"enqueue": "QS_BUSY"}) as session, made_anew(card) as slots:
        with pytest.raises(DeviceError, match="QS_BUSY"):
            session.run(feed(0))
        assert len(slots) == TRIES


def test_instances_on_one_device_are_that_device_named_again(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("QEfficient.backends.qaic.dispatch.TRIES", 2)  # one more than the devices that fail
    rows = rows_of(60, seed=4)
    with card.open(0, 0, 0, 1) as session:
        assert session.report()["devices"] == [[0], [0], [0], [1]]
        assert {device.id: device.free_cores for device in native.devices(Sdk(card.sdk.root))}[0] == 16 - 3 * 4
        assert np.array_equal(run_rows(session, rows, How())["output"], alone(card, rows))
        card.sdk.set(fail_after={"0": 0})
        rows = rows_of(60, seed=5)
        assert np.array_equal(run_rows(session, rows, How())["output"], alone(card, rows))
        lost = cast("list[dict[str, Any]]", session.report()["lost"])
        assert lost and all(one["devices"] == [0] for one in lost)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    times=st.lists(st.sampled_from([0, 1, 3]), min_size=2, max_size=4),
    dies=st.dictionaries(st.integers(0, 2), st.integers(0, 20), max_size=3),
    number=st.integers(1, 120),
    seed=st.integers(0, 99),
)
def test_whatever_fails_rows_are_right_while_one_device_lives(
    card: Card, times: list[int], dies: dict[int, int], number: int, seed: int
) -> None:
    dies = {qid: after for qid, after in dies.items() if qid < len(times) - 1}  # the last one lives
    rows = rows_of(number, seed)
    switches = {"device_time_ms": {str(q): t for q, t in enumerate(times)}}
    with card.open(*range(len(times)), **switches, fail_after={str(q): n for q, n in dies.items()}) as session:
        assert np.array_equal(run_rows(session, rows, How())["output"], alone(card, rows))
        found = card.fake.report()["devices"]
        assert all(found[qid]["inferences"] <= after for qid, after in dies.items())
    assert card.cores() == {16}


def test_eight_threads_of_a_thousand_calls_equal_one(card: Card) -> None:
    feeds = [feed(n) for n in range(40)]
    with card.open(0, 1, device_time_ms=0) as session:
        serial = [session.run(one)["output"].tobytes() for one in feeds]
        wrong = []

        def work(thread: int) -> None:
            for number in np.random.default_rng(thread).integers(0, len(feeds), 1_000):
                if session.run(feeds[number])["output"].tobytes() != serial[number]:
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong and sum(cast("list[int]", session.report()["runs"])) == 8_040


# ------------------------------------------------------------------------------------------------ what interrupts


def test_closing_in_the_middle_finishes_what_was_taken(card: Card) -> None:
    with card.open(0, 1, device_time_ms=2) as session:
        futures = [session.submit(feed(n)) for n in range(60)]
        session.close()
        assert all(future.done() and future.exception() is None for future in futures)
        with pytest.raises(DeviceError, match="closed"):
            session.submit(feed(0))
    assert card.cores() == {16}


def test_what_waits_can_be_cancelled(card: Card) -> None:
    with card.open(0, device_time_ms=5) as session:
        futures = [session.submit(feed(n)) for n in range(40)]
        stopped = [future for future in futures if future.cancel()]
        assert len(stopped) >= 30
        for future in futures:
            if future in stopped:
                with pytest.raises(CancelledError):
                    future.result()
            else:
                future.result(timeout=30)
        assert len(stopped) + card.fake.report()["devices"][0]["inferences"] == 40


@pytest.mark.parametrize("what", ["run", "batches"])
def test_ctrl_c_leaves_nothing_running_and_the_session_usable(card: Card, what: str) -> None:
    with card.open(0, 1, device_time_ms=100) as session:
        expected = session.run(feed(7))["output"]
        timer = threading.Timer(0.15, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            if what == "run":
                while True:
                    session.run(feed(7))
            run_rows(session, rows_of(400), How())
        timer.join()
        card.sdk.set(device_time_ms=1)
        assert np.array_equal(session.run(feed(7))["output"], expected)
        assert session.report()["slots"] == 2 * SLOTS and session.report()["lost"] == []
        for _ in range(1 if what == "batches" else 200):  # the card ends what nobody waits for
            left = sum(device["in_flight"] for device in card.fake.report()["devices"].values())
            if not left:
                break
            time.sleep(0.05)
        assert not left
        for future in [session.submit(feed(n)) for n in range(6 * SLOTS)]:
            future.result(timeout=30)
        assert most_in_flight(card) == [SLOTS, SLOTS]
    assert card.cores() == {16}


def test_a_close_that_is_interrupted_can_be_called_again(card: Card) -> None:
    with card.open(0, 1, device_time_ms=400) as session:
        futures = [session.submit(feed(n)) for n in range(4)]
        timer = threading.Timer(0.1, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            session.close()  # waits for what is in flight
        timer.join()
        assert not all(future.done() for future in futures) and card.cores() == {16, 12}
        session.close()
        assert all(future.done() for future in futures) and card.cores() == {16}


def test_a_signal_s_handler_may_close_what_is_being_closed(card: Card) -> None:
    with card.open(0, device_time_ms=300) as session:
        future, called = session.submit(feed(0)), list[int]()
        before = signal.signal(signal.SIGINT, lambda *_: (session.close(), called.append(1)))
        timer = threading.Timer(0.1, _thread.interrupt_main)
        timer.start()
        try:
            session.close()
        finally:
            timer.join()
            signal.signal(signal.SIGINT, before)
        assert called and future.done() and card.cores() == {16}


def test_threads_end_by_themselves(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("QEfficient.backends.qaic.dispatch._LINGER", 0.05)
    with card.open(0, 1) as session:
        for _ in range(2):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n: session.submit(feed(n)).result(timeout=30), range(20)))
            assert [thread for thread in threading.enumerate() if thread.name.startswith("qaic-")]
            for _ in range(100):
                if not [thread for thread in threading.enumerate() if thread.name.startswith("qaic-")]:
                    break
                time.sleep(0.02)
            else:
                raise AssertionError("a thread is left")


_ENDS = """
import atexit, pickle, sys
futures = []
atexit.register(lambda: print(sum(future.done() for future in futures), *{d.free_cores for d in native.devices(sdk)}))
from pathlib import Path
import numpy as np
from QEfficient.backends.qaic import QaicBackend, native
from QEfficient.backends.qaic.sdk import Sdk
sdk = Sdk(Path(sys.argv[1]))
session = QaicBackend(sdk=sdk).open(pickle.loads(Path(sys.argv[2]).read_bytes()), [0])
ids = np.ones((2, 8), np.int64)
futures += [session.submit({"input_ids": ids, "attention_mask": ids}) for _ in range(10)]
"""


def test_a_program_that_ends_without_closing_ends_well(card: Card, tmp_path: Path) -> None:
    """What it began is done, no thread is inside the runtime any more, and the cores are back."""
    card.sdk.set(**CALM | {"device_time_ms": 20})
    (tmp_path / "program").write_bytes(pickle.dumps(card.program))
    command = [sys.executable, "-c", _ENDS, str(card.sdk.root), str(tmp_path / "program")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stdout, done.stderr) == (0, "10 16\n", "")
