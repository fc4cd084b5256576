"""Threads at the interpreter's end: who has to go on then, and who has to go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

ENDING = threading.Event()
"""Whether the interpreter is about to end: set by whoever is told."""


def submit(pool: ThreadPoolExecutor, call: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> Future[T]:
    """As ``pool.submit``, of a pool that is not shut down.

    Once the main thread has ended, Python gives pools no more work and starts no more threads, while other threads, and
    functions of ``atexit``, go on: what they still ask for is done here and now.
    """
    try:
        return pool.submit(call, *args, **keywords)
    except RuntimeError as error:
        if "shutdown" in str(error):  # else the system has no more threads to give
            ENDING.set()
            leave()
    future: Future[T] = Future()
    try:
        future.set_result(call(*args, **keywords))
    except Exception as error:
        future.set_exception(error)
    return future


def leave() -> None:
    """Ends a daemon thread of an interpreter that ends, in silence.

    Python itself would end it a moment later, wherever it is: inside a runtime's own code that aborts the process.

    Raises:
        SystemExit: It is such a thread.
    """
    if ENDING.is_set() and threading.current_thread().daemon:
        raise SystemExit
