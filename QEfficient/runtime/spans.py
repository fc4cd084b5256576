"""Where the time of a call goes: tokenise, plan, run, gather. It costs next to nothing while nobody watches.

The pipeline marks its stages, and counts its batches (``WATCHER.get().counter``), wherever they are; nothing is passed
from call to call:

    with spans.span("plan"):                      # on the caller's thread
        batches = plan(…)
    spans.follow("run", session.submit(arrays))   # ends when the future does

Whoever wants to know encloses the call:

    with spans.watching() as found:
        model.encode(texts)
    found.seconds("run")

A watcher belongs to a context, as a ``ContextVar`` does: other threads' calls are not in it. Work that a call hands to
a thread of its own runs there in a copy of the caller's context.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final

from QEfficient.runtime.counts import RunCounter, RunCounts

STAGES: Final = ("tokenise", "plan", "run", "gather")
"""Strings → rows of ids; rows → batches of arrays; the session; results → the caller's order."""

NOTHING: Final[AbstractContextManager[None]] = nullcontext()


class Spans:
    """What was seen of one or more calls. Safe from many threads."""

    def __init__(self) -> None:
        self.counter = RunCounter()
        self._found: dict[str, list[tuple[float, float]]] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, start: float, end: float) -> None:
        """Adds a span that is over, in ``time.perf_counter``'s seconds."""
        with self._lock:
            self._found.setdefault(stage, []).append((start, end))

    @contextmanager
    def span(self, stage: str) -> Iterator[None]:
        """The time between entry and exit belongs to a stage, also when it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, start, time.perf_counter())

    def follow(self, stage: str, future: Future[Any]) -> None:
        """The time from now until the future is done belongs to a stage."""
        start = time.perf_counter()
        future.add_done_callback(lambda _: self.add(stage, start, time.perf_counter()))

    @property
    def work(self) -> RunCounts:
        """All batches together."""
        return self.counter.total

    def seconds(self, stage: str) -> float:
        """All spans of a stage together; more than the clock's where they lie side by side."""
        return sum(end - start for start, end in self._found.get(stage, ()))

    def covered(self, *stages: str) -> float:
        """Seconds of the clock during which at least one span of these stages was open."""
        total, reached = 0.0, float("-inf")
        for start, end in sorted(span for stage in stages for span in self._found.get(stage, ())):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total


WATCHER: ContextVar[Spans | None] = ContextVar("QEfficient.runtime.spans", default=None)


@contextmanager
def watching() -> Iterator[Spans]:
    """Watches the calls of this context until it ends; an outer watcher sees nothing of them."""
    found = Spans()
    token = WATCHER.set(found)
    try:
        yield found
    finally:
        WATCHER.reset(token)


def span(stage: str) -> AbstractContextManager[None]:
    """:meth:`Spans.span` of whoever watches."""
    watcher = WATCHER.get()
    return NOTHING if watcher is None else watcher.span(stage)


def follow(stage: str, future: Future[Any]) -> None:
    """:meth:`Spans.follow` of whoever watches."""
    if watcher := WATCHER.get():
        watcher.follow(stage, future)
