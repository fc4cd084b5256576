"""Python's search for cyclic garbage, paused while a graph is made."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_inside = 0
_was_on = False


@contextmanager
def not_collected() -> Iterator[None]:
    """No search for cyclic garbage, from any thread, until everybody who entered it has left.

    Imports of torch and transformers, and an export, make millions of objects that stay. Python would look through all
    of them again and again as their number grows, which takes a seventh of a cold compile and finds next to nothing.
    """
    global _inside, _was_on
    with _LOCK:
        if not _inside:
            _was_on = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside and _was_on:
                gc.enable()
