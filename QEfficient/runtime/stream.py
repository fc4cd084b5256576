"""Items in, results out, in order: rows are made of the next items while those before are run. Memory is bounded.

Three things go on side by side. The caller's own thread reads the source (which may be bound to it, as a database's
cursor is), starts runs and takes in what they gave. One more thread makes rows of items, a window of them at a time.
The session runs batches in threads of its own, or on a device. The caller's thread waits in one place for whatever
comes first; it reads while there is nothing else to do.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from QEfficient.backends.base import Arrays, Closing, Session
from QEfficient.backends.threads import submit
from QEfficient.errors import InputError
from QEfficient.records import Rows
from QEfficient.runtime.plan import Batch
from QEfficient.runtime.run import How, Job, RowRunner, Runs

FIRST, GROWTH, WINDOW = 256, 4, 4096
"""Items of the first window, how much larger each next one is, and the most.

Rows are sorted within a window, so a large one means little padding; a small one first means that runs start early.
2,000 mixed texts in batches of 256 positions computed 1.007 times their tokens so, and 1.003 times in one window.
"""

FULL = 32
"""Batches of each shape that the first window fills, where shapes are fixed: what is left over fills the last ones."""

CHARACTERS = 2**21
"""Of the items of a window: a tokenizer's own record of them takes some thirty times as much memory."""

PATIENCE = 0.02
"""Seconds that items wait for a fuller window while nothing runs."""


class Window(Protocol):
    """What is made of a window's items."""

    @property
    def rows(self) -> Rows:
        """Their rows."""
        ...

    @property
    def numbers(self) -> Sequence[int]:
        """Of each row, the number of its item in the source."""
        ...


W = TypeVar("W", bound=Window)
Prepare = Callable[[int, list[Any]], W]
"""The first item's number and the items → their window. Called in another thread, one call at a time."""


BITE = 0.001
"""Seconds of reading at once while batches wait for a session that runs one at a time."""


@dataclass(frozen=True, slots=True)
class _Made(Generic[W]):
    """A window and its batches, and why what followed was refused."""

    window: W | None = None
    batches: tuple[Batch, ...] = ()
    error: InputError | None = None


class Source:
    """Reads items into windows.

    Args:
        items: Where they come from; only the thread that calls :meth:`read` ever touches it.
        check: Refuses an item by raising, given its number.
        window: The most items of a window.
        patience: Seconds after which a window counts as late; ``None``: never, so that the same items always make the
            same windows.
    """

    def __init__(
        self,
        items: Iterable[Any],
        *,
        check: Callable[[int, Any], None] | None = None,
        window: int = WINDOW,
        patience: float | None = None,
    ) -> None:
        self.window = window
        self.ended = False
        """Nothing more is to be read."""
        self.slow = False
        """The last item took longer than patience lasts."""
        self.error: Exception | None = None
        """What ended it, if that was an error."""
        self._items, self._check, self.patience = iter(items), check, patience
        self._total = len(items) if isinstance(items, Sized) else None
        self._first = self._characters = 0
        self.begin(FIRST)
        self._kept: list[Any] = []
        self._since: float | None = None  # when the wait for this window's items began

    def begin(self, size: int) -> None:
        """Sets the size of the next window; a rest that is no more than it joins it: two would pad more than one."""
        self._size = min(size, self.window)
        rest = None if self._total is None else self._total - self._first - self._size
        if rest is not None and rest <= self._size:
            self._size += max(0, rest)

    @property
    def full(self) -> bool:
        """Whether there is a window to take for which nothing more is to come."""
        enough = self.ended or len(self._kept) >= self._size or self._characters >= CHARACTERS
        return bool(self._kept) and enough

    @property
    def late(self) -> bool:
        """Whether there are items that have waited long enough for others."""
        if not self._kept or self.patience is None or self._since is None:
            return False
        return time.perf_counter() - self._since > self.patience

    def read(self, until: Callable[[], bool]) -> None:
        """Reads one item or more: until the window is full, or ``until`` says so."""
        began = time.perf_counter()
        if self._since is None:
            self._since = began
        try:
            for item in self._items:
                if self._check is not None:
                    self._check(self._first + len(self._kept), item)
                self._kept.append(item)
                self._characters += len(item) if isinstance(item, str) else sum(map(len, item))
                if self.patience is not None:
                    now = time.perf_counter()
                    self.slow, began = now - began > self.patience, now
                if self.full or until():
                    return
        except Exception as error:  # whatever the source raises: what came before it is run first
            self.error = error
        self.ended = True

    def take(self) -> tuple[int, list[Any]]:
        """The number of the first item that was kept, and all of them."""
        first, items = self._first, self._kept
        self._first += len(items)
        self._kept, self._characters, self._since = [], 0, None
        self.begin(self._size * GROWTH)
        return first, items

    def stop(self, error: Exception) -> None:
        """Forgets what was kept, and reads no more: an earlier item is in error."""
        self._kept, self.error, self.ended = [], error, True


class Stream(Closing, Generic[W]):
    """An iterator over finished windows with their results, in the order of the source. One thread's own.

    However the ``with`` block ends, no thread and no run is left behind.

    Args:
        session: An open session.
        source: The items.
        prepare: Makes rows of them.
        how: How rows are run.
        partial: Where an item is refused, first give what came before it.
    """

    def __init__(
        self, session: Session, source: Source, prepare: Prepare[W], how: How, *, partial: bool = False
    ) -> None:
        self._source, self._prepare, self._partial = source, prepare, partial
        self._runner, self._slots = RowRunner(session, how), session.slots
        self._runs, self._thread = Runs(self._runner), threading.get_ident()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="qefficient-rows")
        self._making: Future[_Made[W]] | None = None
        self._made: tuple[W, tuple[Batch, ...]] | None = None
        self._jobs: deque[tuple[W, Job]] = deque()
        self._open = 0  # rows of the jobs
        batches = [shape.batch for shape in session.shapes] if session.fixed_shapes else [1]
        if max(batches) > 1:
            source.begin(max(FIRST, FULL * sum(batches)))
        self._room = 2 * source.window + session.slots * max(batches)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[W, Arrays]:
        while True:
            self.pump()
            if self._jobs and not self._jobs[0][1].left:
                window, job = self._jobs.popleft()
                self._open -= len(window.rows)
                return window, job.results()
            reads = self._may_read()
            if reads:
                self._read()
            if self._alone():
                self._runs.run_next()
            elif reads:
                continue
            elif self._making is not None or self._runs.flying:
                self._take(self._runs.events.get())
            elif not self._jobs and self._made is None and not self._source.full:
                if self._source.error is not None:
                    raise self._source.error
                raise StopIteration

    def pump(self) -> None:
        """Does what can be done without waiting and without reading.

        For a caller who spends long on a window's results: call it now and then.
        """
        while not self._runs.events.empty():
            self._take(self._runs.events.get())
        if self._made is not None and self._runs.waiting < self._slots and self._open < self._room:
            (window, batches), self._made = self._made, None
            job = Job(self._runner, window.rows, len(batches), window.numbers)
            self._runs.add(job, batches)
            self._jobs.append((window, job))
            self._open += len(window.rows)
        source = self._source
        if self._making is None and self._made is None and (source.full or (source.late and self._idle())):
            first, items = source.take()
            self._making = submit(self._worker, copy_context().run, self._make, first, items)
            self._making.add_done_callback(self._runs.events.put)
        if not self._alone():
            self._runs.feed()

    def close(self) -> None:
        """Starts nothing more, and waits for what can't be stopped.

        Another thread than the stream's own does not wait: the garbage collector may call from any thread, from one
        that this would wait for too. Nor does a thread of an interpreter that ends.
        """
        waits = threading.get_ident() == self._thread and not sys.is_finalizing()
        try:
            self._runs.close(wait_for=waits)
        finally:
            self._worker.shutdown(wait=waits, cancel_futures=True)

    def _alone(self) -> bool:
        source = self._source
        more = self._making is not None or self._made is not None or source.full
        if source.patience is None and self._runs.submitted:  # whether runs ended by now would decide the last bits
            return self._runs.alone(last=False)
        return self._runs.alone(last=not more and (source.ended or source.slow))

    def _idle(self) -> bool:
        return self._making is None and self._made is None and not self._runs.flying and not self._runs.waiting

    def _may_read(self) -> bool:
        """Whether reading can hold up nothing that is nearly done: who waits long for an item gets the others first."""
        if self._source.ended or self._source.full:
            return False
        return not self._source.slow or (self._idle() and not self._jobs)

    def _read(self) -> None:
        runs, source, idle = self._runs, self._source, self._idle()
        end = time.perf_counter() + BITE

        def until() -> bool:
            if not runs.events.empty() or (idle and source.late):
                return True
            return runs.waiting > 0 and time.perf_counter() > end

        source.read(until)

    def _take(self, future: Future[Any]) -> None:
        if future is not self._making:
            self._runs.finish(future)
            return
        self._making = None
        made = future.result()
        if made.error is not None:
            if not self._partial:
                raise made.error
            self._source.stop(made.error)
        if made.window is not None:
            self._made = made.window, made.batches

    def _make(self, first: int, items: list[Any]) -> _Made[W]:
        try:
            return self._planned(first, items)
        except InputError as error:
            return self._start(first, items, error) if self._partial else _Made(error=error)

    def _planned(self, first: int, items: list[Any]) -> _Made[W]:
        window = self._prepare(first, items)
        _, batches = self._runner.planned(window.rows, window.numbers)  # a window has no padding to be replaced
        return _Made(window, batches)

    def _start(self, first: int, items: list[Any], error: InputError) -> _Made[W]:
        """As many items as can be taken before one is refused, found by halving, and why that one is."""
        good, bad = 0, len(items)
        found: _Made[W] = _Made()
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                found, good = self._planned(first, items[:middle]), middle
            except InputError:
                bad = middle
        try:
            self._planned(first + good, items[good:bad])  # alone, so that the message counts no other
        except InputError as alone:
            error = alone
        error.add_note(f"The first item that is refused is number {first + good}, counted from 0.")
        return _Made(found.window, found.batches, error)
