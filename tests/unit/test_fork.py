"""A forked child knows that it is one, and whatever has state of one process starts anew in it."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient import fork
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import MODEL, CompileOptions, Rows, Shape, Target
from QEfficient.runtime.counts import RunCounter, RunCounts
from tests import tiny_graphs

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12, about any fork


def in_a_child(work: Callable[[], Any]) -> Any:
    """What ``work`` gives in a forked child."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(work()))
    process.start()
    try:
        assert receiver.poll(timeout=60), "the child does not answer"
        return receiver.recv()
    finally:
        process.kill()
        process.join()


class Counting:
    """Counts how often it begins anew."""

    def __init__(self) -> None:
        self.begun = 0
        fork.in_child(self.begin)

    def begin(self) -> None:
        self.begun += 1


def test_a_child_is_another_process_and_so_is_its_own() -> None:
    mine = fork.process()
    assert fork.process() is mine
    assert in_a_child(lambda: (fork.process() is mine, in_a_child(lambda: fork.process() is mine))) == (False, False)
    assert fork.process() is mine


class Failing:
    """Its lock can't be begun anew."""

    def __init__(self) -> None:
        fork.in_child(self.begin)

    def begin(self) -> None:
        raise RuntimeError("not to be seen but on stderr")


def test_what_lives_begins_once_in_each_child() -> None:
    one = Counting()
    assert in_a_child(lambda: (one.begun, in_a_child(lambda: one.begun))) == (1, 2)
    assert one.begun == 0


def test_what_is_gone_is_forgotten() -> None:
    one, before = Counting(), len(fork._begins)
    gone = weakref.ref(one)
    del one
    gc.collect()
    fork.in_child(_nothing)  # whoever comes next clears up
    assert gone() is None and len(fork._begins) <= before


def _nothing() -> None:
    pass


def test_one_that_fails_keeps_no_other_from_beginning() -> None:
    many = [Counting() for _ in range(5)]
    bad = Failing()
    try:
        assert in_a_child(lambda: [one.begun for one in many]) == [1] * 5
    finally:
        del bad


def test_what_is_leaked_is_not_destroyed_in_the_child() -> None:
    class Holder:
        def __init__(self) -> None:
            self.held: Counting | None = Counting()
            fork.in_child(self.begin)

        def begin(self) -> None:
            fork.leak(self.held)
            self.held = None

    def child() -> bool:
        gc.collect()
        return holder.held is None and held() is not None

    holder = Holder()
    held = weakref.ref(holder.held)
    assert in_a_child(child)
    holder.held = None
    gc.collect()
    assert held() is None


def test_a_program_in_use_is_free_in_a_child(tmp_path: Path) -> None:
    """Another thread of the parent uses it, and a third one holds its lock."""
    (tmp_path / "program").mkdir()
    backend, model = OnnxRuntimeBackend(), tiny_graphs.make(tmp_path / "graph")
    program = backend.compile(
        {MODEL: model}, {MODEL: [Shape(16)]}, Target("onnxruntime"), CompileOptions(), tmp_path / "program"
    )
    ready = LoadedProgram(program, backend, "a test")
    arrays = tiny_graphs.feed(3)
    rows = Rows({name: list(array) for name, array in arrays.items()}, 3, (3,))
    expected = ready.run(rows)["output"]

    def child() -> bool:
        ready.close()  # nobody uses it here
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: ready.run(rows)["output"], range(40)))
        return all(np.array_equal(result, expected) for result in results)

    lent, done = threading.Event(), threading.Event()

    def use() -> None:
        with ready.session(), ready._lock:
            lent.set()
            done.wait(60)

    user = threading.Thread(target=use)
    user.start()
    assert lent.wait(60)
    try:
        assert in_a_child(child)
    finally:
        done.set()
        user.join()
    assert np.array_equal(ready.run(rows)["output"], expected)
    ready.close()


def test_counts_go_on_where_a_thread_of_the_parent_was_counting() -> None:
    counter, ended = RunCounter(), threading.Event()

    def count() -> None:
        while not ended.is_set():
            counter.sums += (1, 1, 2, 3)

    def child() -> tuple[RunCounts, RunCounts]:
        before = counter.total
        counter.sums += (1, 1, 2, 3)
        return before, counter.total

    user = threading.Thread(target=count)
    user.start()
    try:
        before, after = in_a_child(child)
    finally:
        ended.set()
        user.join()
    assert (before.tokens, before.positions) == (2 * before.rows, 3 * before.rows)
    assert after == RunCounts(before.rows + 1, before.batches + 1, before.tokens + 2, before.positions + 3)
