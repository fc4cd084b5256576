"""One training at a time in a process: torch's random numbers are the process's, and not a thread's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOCK = threading.Lock()
_INSIDE: ContextVar[bool] = ContextVar("inside a training", default=False)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Waits until no other thread is in here. What is called from within, as a score may, goes on at once.

    The work of :func:`~QEfficient.export.isolated.isolated` runs in a copy of its caller's context, and so is within.
    """
    if _INSIDE.get():
        yield
        return
    with _LOCK:
        token = _INSIDE.set(True)
        try:
            yield
        finally:
            _INSIDE.reset(token)
