"""What a host backend takes for its share of the machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.backends import host
from QEfficient.records import Tuning


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, files: dict[str, str], cpus: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert host._cpu_quota(tmp_path) == cpus


def test_threads_stay_within_affinity_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for quota, expected in ((None, 8), (0.5, 1), (2.5, 3), (64.0, 8)):
        monkeypatch.setattr(host, "_cpu_quota", lambda quota=quota: quota)
        assert host.usable_cpus() == expected


def test_the_guess_is_streams_until_their_weights_cost_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "usable_cpus", lambda: 6)
    assert host.guess(host.SHARED) == Tuning(6, 1, host.BATCH_TOKENS)
    assert host.guess(host.SHARED + 1) == Tuning(1, 6, host.BATCH_TOKENS)


@contextmanager
def turn(cpus: host.FairSemaphore, places: int) -> Iterator[None]:
    taken = cpus.acquire(places)
    try:
        yield
    finally:
        cpus.release(taken)


@given(places=st.integers(1, 4), wishes=st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_never_more_at_work_than_there_are_places(places: int, wishes: list[int]) -> None:
    cpus, lock = host.FairSemaphore(places), threading.Lock()
    at_work = most = 0

    def work(wish: int) -> None:
        nonlocal at_work, most
        with turn(cpus, wish):
            with lock:
                at_work += min(wish, places)
                most = max(most, at_work)
            time.sleep(0.0005)
            with lock:
                at_work -= min(wish, places)

    with ThreadPoolExecutor(len(wishes)) as pool:
        list(pool.map(work, wishes))
    assert (at_work, cpus._free) == (0, places) and most <= places


def test_cpus_come_in_the_order_of_asking() -> None:
    cpus, came = host.FairSemaphore(2), []

    def enter(number: int) -> None:
        with turn(cpus, 2 - number % 2):
            came.append(number)
            time.sleep(0.002)

    threads = [threading.Thread(target=enter, args=(n,)) for n in range(5)]
    with turn(cpus, 2):
        for number, thread in enumerate(threads):
            thread.start()
            while len(cpus._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(timeout=10)
    assert came == list(range(5))


@pytest.mark.parametrize("handed", [False, True], ids=["waiting", "its turn has come"])
def test_a_wait_that_is_interrupted_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, handed: bool) -> None:
    cpus = host.FairSemaphore(2)

    class Interrupted:
        closed = False

        def acquire(self) -> None:
            if self.closed:
                if handed:
                    cpus.release(1)  # who works leaves at this very moment
                raise KeyboardInterrupt
            self.closed = True

        def release(self) -> None:
            pass

    cpus.acquire(1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(threading, "Lock", Interrupted)
        cpus.acquire(2)
    if not handed:
        cpus.release(1)
    assert (cpus._free, len(cpus._waiting)) == (2, 0)


@pytest.mark.parametrize(
    ("machine", "facts", "wide"),
    [
        ("x86_64", {"flags": "avx2 fma"}, False),
        ("x86_64", {"flags": "avx2 avx512f avx512_vnni"}, True),
        ("AMD64", {"flags": "avx2 avx_vnni"}, True),
        ("AMD64", {}, False),
        ("aarch64", {}, True),
        ("arm64", {}, True),
    ],
)
def test_which_cpus_have_room_for_sums_of_int8(
    monkeypatch: pytest.MonkeyPatch, machine: str, facts: dict[str, str], wide: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(host, "_cpu_facts", lambda: facts)
    assert host.sums_int8_in_32_bits() is wide
