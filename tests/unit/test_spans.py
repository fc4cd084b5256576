"""Stage times: what is marked is counted, what nobody watches costs nothing, and side by side is not twice."""

import threading
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.runtime import spans
from QEfficient.runtime.counts import RunCounts

WHOLE = st.integers(0, 60)
INTERVALS = st.lists(st.tuples(WHOLE, WHOLE).map(sorted).map(tuple), max_size=12)


@given(INTERVALS, INTERVALS)
def test_covered_counts_each_second_once_and_seconds_counts_all(
    runs: list[tuple[int, int]], plans: list[tuple[int, int]]
) -> None:
    def union(intervals: list[tuple[int, int]]) -> int:
        return len({second for start, end in intervals for second in range(start, end)})

    found = spans.Spans()
    for stage, intervals in (("run", runs), ("plan", plans)):
        for start, end in intervals:
            found.add(stage, start, end)
        assert found.covered(stage) == union(intervals)
        assert found.seconds(stage) == sum(end - start for start, end in intervals)
    assert found.covered("run", "plan") == union(runs + plans)
    assert found.covered("gather") == found.seconds("gather") == 0


def batch(rows: int, tokens: int, positions: int) -> None:
    """Counted as a run counts it."""
    if watcher := spans.WATCHER.get():
        watcher.counter.sums += (rows, 1, tokens, positions)


def test_marks_belong_to_whoever_watches_this_context() -> None:
    with spans.watching() as outer:
        batch(2, 5, 6)
        with spans.watching() as inner, spans.span("plan"):
            batch(1, 3, 3)
        other = threading.Thread(target=lambda: batch(9, 9, 9))
        other.start()
        other.join()
    batch(9, 9, 9)
    assert outer.work == RunCounts(rows=2, batches=1, tokens=5, positions=6)
    assert inner.work == RunCounts(rows=1, batches=1, tokens=3, positions=3)
    assert inner.seconds("plan") > 0 == outer.seconds("plan")


def test_a_span_ends_with_its_future_or_its_error() -> None:
    future: Future[int] = Future()
    with spans.watching() as found:
        spans.follow("run", future)
        assert found.seconds("run") == 0
        future.set_result(1)
        assert found.seconds("run") > 0
        with pytest.raises(ZeroDivisionError), spans.span("gather"):
            raise ZeroDivisionError
    assert found.seconds("gather") > 0


def test_nothing_is_made_while_nobody_watches() -> None:
    assert spans.span("run") is spans.span("plan")
    future: Future[int] = Future()
    spans.follow("run", future)
    future.set_result(1)
