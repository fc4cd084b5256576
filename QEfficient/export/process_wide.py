"""Changes to the whole process that several threads want at once: the first makes them, the last takes them back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


class ProcessWide:
    """A context manager's change, made once however many threads are inside, in whatever order they leave.

    Each on its own would find the other's change at its entry, and leave it behind.

    Args:
        change: Makes the context manager that changes something, and puts it back as it was.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[object]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0
        self._made: AbstractContextManager[object] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """The change holds until everybody who entered it has left."""
        with self._lock:
            if not self._inside:
                change = self._change()
                change.__enter__()
                self._made = change
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside and self._made is not None:
                    made, self._made = self._made, None
                    made.__exit__(None, None, None)
