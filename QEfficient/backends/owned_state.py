"""What every session that keeps state does alike, on the host and on a card: one owner, and one run at a time."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends.base import Arrays
from QEfficient.backends.refusals import closed
from QEfficient.backends.threads import leave
from QEfficient.errors import UsageError


class OwnedState:
    """State that belongs to the process that opened it. Calls of several threads wait for each other."""

    def _own(self) -> None:
        """The state is this process's from now on."""
        self._lock, self._process, self._closed = threading.Lock(), fork.process(), False

    @contextmanager
    def _owned(self) -> Iterator[None]:
        """For whoever runs or touches the state.

        Raises:
            UsageError: This process was forked off the one that has the state.
            DeviceError: The session is closed.
        """
        if fork.process() is not self._process:
            raise UsageError(
                "A session that keeps state can't be used in a forked process: what it holds stayed with the parent.",
                got=type(self).__name__,
                allowed="the process that opened it",
                do="open the program in the child, and prefill there",
            )
        leave()
        with self._lock:
            if self._closed:
                raise closed()
            yield

    @abstractmethod
    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → new array out; state is neither given nor taken."""

    def submit(self, arrays: Mapping[str, NDArray[np.generic]]) -> Future[Arrays]:
        """As :meth:`run`, at once: no run can go beside another on the same state."""
        future: Future[Arrays] = Future()
        try:
            future.set_result(self.run(arrays))
        except Exception as error:
            future.set_exception(error)
        return future
