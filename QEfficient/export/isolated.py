"""Torch's work in a thread of its own: the caller's modes do not reach it, and no signal falls into it.

Nearly all that a caller may have entered in torch counts for one thread: autocast, inference mode, gradients, a default
device, fake tensors, functions' and dispatch's modes. A new thread has none of it, whatever torch adds to it next.

Python runs the handlers of signals in the main thread only. So a Ctrl-C never comes up inside of torch's tracing, where
it meets C++ code that ends the process: it comes up where the caller waits, and is handed on to the work when the work
can take it. No handler is replaced, and one that raises something else, or nothing, does what it always does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from QEfficient.export.work_thread import HERE, WorkThread

_P = ParamSpec("_P")
_R = TypeVar("_R")


def isolated(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function that runs in a thread of its own, with torch's settings at their defaults, while the caller waits.

    It runs in a copy of the caller's context. A call from within such a thread is a plain call.

    What comes up where the caller waits, such as the ``KeyboardInterrupt`` of a Ctrl-C, ends the work and is raised
    when the work has ended: at once, but for what is :func:`~QEfficient.export.work_thread.shielded`, which is finished
    first. What comes up a second time does not wait for it.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if HERE.get() is not None:
            return function(*args, **kwargs)
        from QEfficient.export.global_state import default_state  # torch

        return WorkThread(functools.partial(function, *args, **kwargs), default_state).result()

    return call
