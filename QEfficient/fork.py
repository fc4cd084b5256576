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
_begins: set[weakref.ref[Callable[[], None]]] = set()
_leaked: list[object] = []


def process() -> object:
    """A mark of this process, to be compared with ``is``: a forked child has another."""
    return _process


def in_child(begin: Callable[[], None]) -> None:
    """Has ``begin`` called in every forked child, before anything else runs there.

    Args:
        begin: A function of a module, or a method, which is forgotten with its object.
    """
    _begins.add(weakref.WeakMethod(begin, _begins.discard) if ismethod(begin) else weakref.ref(begin))


def leak(*objects: object) -> None:
    """Keeps objects of the parent's from being destroyed in this process, on purpose."""
    _leaked.extend(objects)


def _forked() -> None:
    global _process
    _process = object()
    for reference in _begins.copy():  # in one step: the garbage collector may take from the set at any time
        begin = reference()
        if begin is not None:
            begin()


os.register_at_fork(after_in_child=_forked)
