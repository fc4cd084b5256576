"""What is one for the whole process: changes that several threads want at once, and work that one does at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from QEfficient.export.work_thread import held


class ProcessWide:
    """A context manager's change, made once however many threads are inside, in whatever order they leave.

    Each on its own would find the other's change at its entry, and leave it behind.

    Args:
        change: Makes the context manager that changes something, and puts it back as it was.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[object]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside: set[object] = set()
        self._made: AbstractContextManager[object] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """The change holds until everybody who entered it has left."""
        me = object()
        try:
            try:
                self._enter(me)
                yield
            finally:
                self._leave(me)
        finally:
            self._leave(me)  # a Ctrl-C may have come up before the first one began

    def _enter(self, who: object) -> None:
        with held(), self._lock:
            if not self._inside:
                change = self._change()
                change.__enter__()
                self._made = change
            self._inside.add(who)

    def _leave(self, who: object) -> None:
        """Leaves once, however often it is called."""
        with held(), self._lock:
            self._inside.discard(who)
            if not self._inside and self._made is not None:
                self._made.__exit__(None, None, None)
                self._made = None


@contextmanager
def one_at_a_time(lock: threading.Lock | threading.RLock) -> Iterator[None]:
    """Waits for others who hold the lock; a Ctrl-C, which comes up between two steps of Python only, ends the wait."""
    mine = False
    try:
        while not mine:
            mine = lock.acquire(timeout=0.2)
        yield
    finally:
        if mine:
            lock.release()
