"""What a forked child must know: that it is another process, what starts anew in it, what it must not destroy.

A child has its parent's memory and none of its threads. A lock that one of these held stays locked there, a pool has
nobody who works, and a runtime's destructors wait for threads that are no more.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from inspect import ismethod

_process = object()
_begins: set[tuple[weakref.ref[object] | None, Callable[..., None]]] = set()
_leaked: list[object] = []


def process() -> object:
    """A mark of this process, to be compared with ``is``: a forked child has another."""
    return _process


def in_child(begin: Callable[[], None]) -> None:
    """Has ``begin`` called in every forked child, before anything else runs there.

    Args:
        begin: A function of a module, or a method, which is forgotten with its object.
    """
    for owner, function in _begins.copy():
        if owner is not None and owner() is None:
            _begins.discard((owner, function))
    # No WeakMethod: its own callback fails where the interpreter ends.
    _begins.add((weakref.ref(begin.__self__), begin.__func__) if ismethod(begin) else (None, begin))


def leak(*objects: object) -> None:
    """Keeps objects of the parent's from being destroyed in this process, on purpose."""
    _leaked.extend(objects)


def _forked() -> None:
    global _process
    _process = object()
    failed: Exception | None = None
    for owner, function in _begins.copy():  # in one step: another thread may have been adding to it
        of = None if owner is None else owner()
        try:
            if owner is None:
                function()
            elif of is not None:
                function(of)
        except Exception as error:  # the others have locks to begin anew all the same
            failed = failed or error
    if failed is not None:
        raise failed


os.register_at_fork(after_in_child=_forked)
