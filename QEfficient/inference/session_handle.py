"""What ``qpc_session`` gives: the open session of a program, for as long as it stays open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays, Closing, OfOneProcess, Session


class SessionHandle(OfOneProcess, Closing):
    """A session that somebody else may close, since a device has its cores for one program.

    Each call leases the session, so that it is closed before or after, never in between. Once it is closed a call is
    refused. Whatever is not here (``inputs``, ``outputs``, ``report()``, …) is the session's own.

    Args:
        session: An open one.
        lease: Keeps this session open for a ``with`` block. Refuses with ``UsageError`` when it is closed.
        close: Closes this session, unless it is closed.
    """

    def __init__(
        self,
        session: Session,
        lease: Callable[[Session], AbstractContextManager[None]],
        close: Callable[[Session], None],
    ) -> None:
        self._session, self._lease, self._close = session, lease, close

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also what copy and pickle look for in an object that is not made yet
            raise AttributeError(name)
        return getattr(self._session, name)

    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → new array out.

        Raises:
            UsageError: The session is closed.
        """
        with self._lease(self._session):
            return self._session.run(arrays)

    def submit(self, arrays: Mapping[str, NDArray[np.generic]]) -> Future[Arrays]:
        """As :meth:`run`, in the background. Whoever closes the session lets it finish.

        Raises:
            UsageError: The session is closed.
        """
        with self._lease(self._session):
            return self._session.submit(arrays)

    def close(self) -> None:
        """Frees the device, as the model's ``close()``. No effect when this session is closed already."""
        self._close(self._session)
