"""A thread that one call is made in, and how an interruption of whoever waits for it gets there."""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, Generic, TypeVar

_R = TypeVar("_R")

_PATIENCE = 0.5  # seconds; a Ctrl-C may come up when the lock was taken already, and who waits looks again

_log = logging.getLogger("QEfficient")


@contextmanager
def shielded(what: str) -> Iterator[None]:
    """Work that must not be interrupted; the first Ctrl-C waits for its end.

    Args:
        what: Names the work to whoever waits.
    """
    work = HERE.get()
    if work is None:
        yield
        return
    work.shield(what)
    try:
        yield
    finally:
        work.unshield()


@contextmanager
def held() -> Iterator[None]:
    """A few lines that no interruption may fall into, not even a second one: it comes up behind them."""
    work = HERE.get()
    if work is None:
        yield
        return
    before = work.hold()
    try:
        yield
    finally:
        work.release(before)


class WorkThread(Generic[_R]):
    """One call in a thread of its own.

    Args:
        function: What is called.
        state: What is entered before it, and left behind it, while no interruption can come up.
    """

    def __init__(self, function: Callable[[], _R], state: Callable[[], AbstractContextManager[None]]) -> None:
        self._function = function
        self._state = state
        self._context = copy_context()
        self._thread = threading.Thread(target=self._run, name="QEfficient-torch")
        self._claim = threading.Lock()  # who has it decides whether the work is done at all
        self._end = threading.Lock()
        self._end.acquire()  # until the work is over; Thread.join takes a thread for ended when a Ctrl-C comes (3.11)
        self._lock = threading.Lock()  # for what follows, as both threads see it
        self._over = False
        self._held = True  # but for the time of the call itself; only the work's thread sets it
        self._shield = ""
        self._owed = False
        self._found: list[_R] = []
        self._error: BaseException | None = None

    # ------------------------------------------------------------------------------------ in its thread

    def _run(self) -> None:
        try:
            if self._claim.acquire(blocking=False):
                with self._state():
                    self._do()
        except BaseException as error:  # the state's own
            self._error = error
        self._over = True
        self._end.release()

    def _do(self) -> None:
        """An interruption comes up behind a call, or at the head of a function or a loop: never where none stands."""
        try:
            found = self._context.run(self._call)
            self._held = True
            self._found = [found]
        except BaseException as error:  # whatever it is, it is raised where the caller waits
            self._held = True
            self._error = error
        try:
            self._deliver_pending()
        except BaseException as error:
            self._error = error

    def _call(self) -> _R:
        HERE.set(self)
        self.release()
        return self._function()

    def hold(self) -> bool:
        """From here on every interruption is owed. Returns whether it was so before."""
        before, self._held = self._held, True
        try:
            self._deliver_pending()
        except BaseException:
            self._held = before
            raise
        return before

    def release(self, before: bool = False) -> None:
        """Undoes :meth:`hold`, which gave ``before``. Raises ``KeyboardInterrupt`` if one is owed."""
        with self._lock:
            self._held = before
            owed = self._due()
        if owed:
            raise KeyboardInterrupt

    def shield(self, what: str) -> None:
        """From here on the first interruption is owed."""
        with self._lock:
            self._shield = what

    def unshield(self) -> None:
        """Raises ``KeyboardInterrupt`` if one is owed."""
        with self._lock:
            self._shield = ""
            owed = self._due()
        if owed:
            raise KeyboardInterrupt

    def _due(self) -> bool:
        if self._held or self._shield:
            return False
        owed, self._owed = self._owed, False
        return owed

    def _deliver_pending(self) -> None:
        """An asynchronous exception that was on its way before ``_held`` was set is raised in here, and none later."""
        with self._lock:
            pass

    # ------------------------------------------------------------------------------------ where the caller waits

    def result(self) -> _R:
        """Does the work; returns or raises what it does."""
        came: BaseException | None = None
        try:
            came = self._wait()
            if came is not None:
                raise came
            if self._error is not None:
                raise self._error
            return self._found[0]
        finally:
            came = self._error = None  # an error holds this frame, which must not hold the error
            del self._function, self._context, self._found  # the context holds this object, and it the weights

    def _wait(self) -> BaseException | None:
        """Starts the work and waits until it has ended, whatever comes up; returns what came up first."""
        came: BaseException | None = None
        begun = fresh = again = False
        while True:
            try:
                if not begun:
                    begun = True
                    self._thread.start()
                if fresh:
                    fresh = False
                    if not self._interrupt(at_once=again):
                        return came
                    again = True
                if self._end.acquire(timeout=_PATIENCE) or self._over:
                    self._thread.join()
                    return came
            except BaseException as error:
                came, fresh = (error if came is None else came), True

    def _interrupt(self, *, at_once: bool) -> bool:
        """Hands on what came up; ``False``: the work has not begun, and will not."""
        if self._claim.acquire(blocking=False):
            return False
        while _starts_a_thread(self._thread):
            time.sleep(0.001)
        with self._lock:
            shield = "" if at_once else self._shield
            if shield or self._held:
                self._owed = True
            else:
                _raise_in(self._thread, KeyboardInterrupt)
        if shield:
            _log.warning("stopping once %s is over; another Ctrl-C stops at once", shield)
        return True


def _starts_a_thread(thread: threading.Thread) -> bool:
    """Whether a thread is about to start another one.

    A new thread has its starter's number until it runs (CPython 3.11): an exception for the starter would end
    the new one before it has begun, and the starter would wait for it forever.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code is threading.Thread.start.__code__:
            return True
        frame = frame.f_back
    return False


def _raise_in(thread: threading.Thread, kind: type[BaseException]) -> None:
    """Raises an exception in another thread, as soon as that runs Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(kind))


HERE: ContextVar[WorkThread[Any] | None] = ContextVar("the work that this code is part of", default=None)
