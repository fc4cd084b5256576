"""Items in, results out: nothing is lost, swapped or left behind, whatever the source and the session do."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.backends.base import Arrays
from QEfficient.errors import DeviceError, InputError, NumericsError
from QEfficient.records import Rows
from QEfficient.runtime import spans
from QEfficient.runtime import stream as streams
from QEfficient.runtime.counts import RunCounter, RunCounts
from QEfficient.runtime.run import How
from QEfficient.runtime.stream import Source, Stream
from tests.example_session import ExampleSession, TunableSession


@dataclass(frozen=True)
class Words:
    rows: Rows
    numbers: range


def prepare(first: int, items: list[str]) -> Words:
    """A row of letters a word; a word with "!" is refused."""
    if bad := [first + place for place, word in enumerate(items) if "!" in word]:
        raise InputError(f"{len(bad)} of {len(items)} words shout: {bad}.")
    ids = [np.array([ord(letter) for letter in word]) for word in items]
    rows = Rows(
        {"input_ids": ids, "attention_mask": [np.ones_like(row) for row in ids]},
        width=max(map(len, items)),
        lengths=tuple(map(len, items)),
    )
    return Words(rows, range(first, first + len(items)))


def check(number: int, item: object) -> None:
    if not isinstance(item, str):
        raise InputError(f"Item {number} is no word.")


def results(stream: Stream[Words]) -> Iterator[list[float]]:
    for _, arrays in stream:
        yield from arrays["output"].tolist()
        stream.pump()


def expected(words: Iterable[str]) -> list[list[float]]:
    return [[sum(map(ord, word)), len(word)] for word in words]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def some_words(count: int) -> list[str]:
    return ["abcdefgh"[: 1 + number * 5 % 8] for number in range(count)]


WORDS = st.lists(st.text("abcxyz", min_size=1, max_size=8), max_size=40)


@settings(deadline=None, max_examples=60)  # a busy machine is no failure
@given(
    words=WORDS,
    window=st.integers(1, 9),
    slots=st.integers(1, 4),
    fixed=st.booleans(),
    pauses=st.lists(st.sampled_from([0.0, 0.0, 0.001]), min_size=1, max_size=5),
)
def test_any_words_come_back_in_order(
    words: list[str], window: int, slots: int, fixed: bool, pauses: list[float]
) -> None:
    turns = itertools.cycle(pauses)
    counter = RunCounter()
    with ExampleSession(fixed=fixed, slots=slots, before=lambda arrays: time.sleep(next(turns))) as session:
        with Stream(session, Source(iter(words), window=window), prepare, How(counter=counter)) as stream:
            assert list(results(stream)) == expected(words)
    assert session.most <= slots and session.most_held <= slots + 1
    assert counter.total.rows == len(words)
    assert counter.total.tokens == sum(map(len, words)) <= counter.total.positions
    assert counter.total.batches == len(session.seen)
    assert counter.total.positions == sum(batch * length for batch, length in session.seen)


@settings(deadline=None, max_examples=60)  # a busy machine is no failure
@given(
    words=WORDS,
    bad=st.sampled_from([None, 3, "no!", RuntimeError("The source is gone."), "toolongword"]),
    place=st.integers(0, 40),
    window=st.integers(1, 9),
    slots=st.integers(1, 3),
)
def test_what_came_before_an_error_comes_out_before_it(
    words: list[str], bad: Any, place: int, window: int, slots: int
) -> None:
    def source() -> Iterator[Any]:
        yield from words[:place]
        if isinstance(bad, Exception):
            raise bad
        yield bad
        yield from words[place:]

    number = min(place, len(words))
    seen: list[list[float]] = []
    with ExampleSession(slots=slots) as session:
        source_ = Source(source(), check=check, window=window)
        with (
            pytest.raises((InputError, RuntimeError)) as caught,
            Stream(session, source_, prepare, How(), partial=True) as stream,
        ):
            seen.extend(results(stream))
    assert seen == expected(words[:place])
    said = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert str(number) in said if not isinstance(bad, Exception) else caught.value is bad


def test_a_refused_item_of_a_list_is_said_at_once() -> None:
    with ExampleSession(slots=2) as session:
        words = ["a"] * 30 + ["no!"] + ["b"] * 3 + ["no!"]
        with (
            pytest.raises(InputError, match=r"shout: \[30, 34\]"),
            Stream(session, Source(words, window=40), prepare, How()) as stream,
        ):
            next(stream)
    assert not session.seen


@pytest.mark.parametrize("slots", [1, 3])
def test_a_failing_session_ends_the_stream(slots: int) -> None:
    def fail(arrays: Arrays) -> None:
        if len(session.seen) == 9:
            raise DeviceError("The device is gone.")

    with ExampleSession(fixed=True, slots=slots, before=fail) as session:
        with (
            pytest.raises(DeviceError, match="gone"),
            Stream(session, Source(itertools.repeat("word"), window=8), prepare, How()) as stream,
        ):
            for _ in stream:
                pass
        assert session.flying == 0
        assert len(session.seen) <= 9 + slots


def test_a_number_that_is_not_finite_is_named_by_its_place_in_the_source() -> None:
    class Spoiled(ExampleSession):
        def _answer(self, ids: np.ndarray, mask: np.ndarray) -> Arrays:
            output = super()._answer(ids, mask)["output"]
            return {"output": np.where((ids == ord("z")).any(axis=1)[:, None], np.nan, output)}

    words = [*some_words(20), "xyz", *some_words(5)]
    with Spoiled(slots=2) as session:
        with (
            pytest.raises(NumericsError) as caught,
            Stream(session, Source(words, window=6), prepare, How()) as stream,
        ):
            list(results(stream))
    assert caught.value.rows == (20,)
    assert caught.value.got == "row 20 (3 tokens)"


def test_an_endless_source_is_read_a_little_ahead_and_closing_leaves_nothing() -> None:
    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        for word in itertools.cycle(some_words(64)):
            read += 1
            yield word

    with ExampleSession(fixed=True, slots=2, before=lambda arrays: time.sleep(0.0005)) as session:
        with Stream(session, Source(source(), window=8), prepare, How()) as stream:
            found = list(itertools.islice(results(stream), 100))
            # the window that is given out, two in the runs and what the slots hold, one that is made, one that is read
            assert read <= 100 + 8 * 5 + 2 * 3
        assert session.flying == 0
        started = len(session.seen)
        time.sleep(0.01)
        assert len(session.seen) == started
    assert found == expected(itertools.islice(itertools.cycle(some_words(64)), 100))


@pytest.mark.parametrize("slots", [1, 2])
def test_a_slow_source_gets_each_result_before_it_is_asked_again(slots: int) -> None:
    seen: list[list[float]] = []

    def source() -> Iterator[str]:
        for number, word in enumerate(some_words(6)):
            assert len(seen) == number
            time.sleep(2 * streams.PATIENCE)
            yield word

    with ExampleSession(slots=slots) as session:
        with Stream(session, Source(source(), patience=streams.PATIENCE), prepare, How()) as stream:
            for result in results(stream):
                seen.append(result)
    assert seen == expected(some_words(6))


def test_a_list_is_cut_alike_however_slowly_it_is_read() -> None:
    def slowly() -> Iterator[str]:
        for number, word in enumerate(some_words(20)):
            time.sleep(2 * streams.PATIENCE if number == 3 else 0)
            yield word

    with ExampleSession(slots=2) as session:
        with Stream(session, Source(slowly(), window=10), prepare, How()) as stream:
            assert [len(window.numbers) for window, _ in stream] == [10, 10]


def test_windows_grow_and_hold_so_many_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FIRST", 2)
    monkeypatch.setattr(streams, "GROWTH", 3)
    monkeypatch.setattr(streams, "CHARACTERS", 60)
    with ExampleSession() as session:
        words = ["ab"] * 20 + ["abcdefgh"] * 20
        with Stream(session, Source(words, window=12), prepare, How()) as stream:
            assert [len(window.numbers) for window, _ in stream] == [2, 6, 12, 8, 8, 4]


def test_rows_are_made_while_others_run() -> None:
    """The session holds its runs until the next window is made: without that they would wait for ever."""
    made = threading.Semaphore(0)

    def noted(first: int, items: list[str]) -> Words:
        made.release()
        return prepare(first, items)

    def hold(arrays: Arrays) -> None:
        if len(session.seen) <= 2:  # the first window's runs
            assert made.acquire(timeout=20)

    with TunableSession(tokens=8, before=hold) as session:
        with Stream(session, Source(["abcdefgh"] * 12, window=2), noted, How()) as stream:
            assert len(list(results(stream))) == 12


def test_a_busy_reader_of_results_keeps_the_session_fed() -> None:
    with TunableSession(tokens=8) as session:
        with Stream(session, Source(["abcdefgh"] * 30, window=10), prepare, How()) as stream:
            next(stream)
            before = len(session.seen)
            for _ in range(100):
                stream.pump()
                time.sleep(0.001)
                if len(session.seen) >= before + 8:
                    break
            assert len(session.seen) >= before + 8


def test_stages_are_marked_in_whoever_watches() -> None:
    def noted(first: int, items: list[str]) -> Words:
        with spans.span("tokenise"):
            return prepare(first, items)

    with ExampleSession(slots=2) as session, spans.watching() as found:
        with Stream(session, Source(some_words(30), window=10), noted, How()) as stream:
            list(results(stream))
    assert found.work.rows == 30
    assert found.work.tokens == sum(map(len, some_words(30)))
    assert all(found.seconds(stage) > 0 for stage in spans.STAGES)


def counted(counter: RunCounter) -> None:
    counter.sums += (1, 1, 3, 4)


def test_work_adds_up() -> None:
    counter = RunCounter()
    threads = [threading.Thread(target=lambda: [counted(counter) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.total == RunCounts(2000, 2000, 6000, 8000)
    assert counter.total.efficiency == 0.75
    assert RunCounts().efficiency == 1.0


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (300, [300]),
        (384, [384]),
        (512, [512]),
        (513, [256, 257]),
        (700, [256, 444]),
        (1700, [256, 1444]),
        (2000, [256, 1744]),
        (2304, [256, 2048]),
        (2305, [256, 1024, 1025]),
    ],
)
def test_the_rest_of_a_list_joins_the_last_window(count: int, sizes: list[int]) -> None:
    with ExampleSession() as session:
        with Stream(session, Source(["ab"] * count), prepare, How()) as stream:
            assert [len(window.numbers) for window, _ in stream] == sizes


def test_with_fixed_shapes_the_first_window_fills_many_batches() -> None:
    with ExampleSession(fixed=True, slots=2) as session:  # two shapes of three rows
        with Stream(session, Source(iter(["ab"] * 1000)), prepare, How()) as stream:
            assert len(next(stream)[0].numbers) == max(streams.FIRST, streams.FULL * 6)


def test_when_runs_end_does_not_decide_which_handle_the_last_batch_takes() -> None:
    """The caller's own run may round last bits another way than one that was handed over."""

    class Quick(TunableSession):
        """Everything that was handed over has ended when the caller looks."""

        def __init__(self) -> None:
            super().__init__(tokens=8)
            self.own = 0

        def run(self, arrays: Any) -> Arrays:
            self.own += 1
            return super().run(arrays)

        def submit(self, arrays: Any) -> Future[Arrays]:
            future: Future[Arrays] = Future()
            future.set_result(super().run(arrays))
            return future

    words = ["abcdefgh"] * 5  # five batches
    with Quick() as session, Stream(session, Source(words, window=5), prepare, How()) as stream:
        assert list(results(stream)) == expected(words)
        assert session.own == 0
