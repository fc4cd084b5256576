"""Python's search for cyclic garbage, paused while a graph is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from QEfficient.export.process_wide import ProcessWide


@contextmanager
def _paused() -> Iterator[None]:
    was_on = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if was_on:
            gc.enable()


not_collected = ProcessWide(_paused)
"""No search for cyclic garbage, from any thread, until everybody who entered it has left.

Imports of torch and transformers, and an export, make millions of objects that stay. Python would look through all of
them again and again as their number grows, which takes a seventh of a cold compile and finds next to nothing.
"""
