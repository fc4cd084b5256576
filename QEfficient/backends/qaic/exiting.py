"""How the card's sessions end: with a block, or with the interpreter."""

from __future__ import annotations

import atexit
import logging
import weakref

from QEfficient.backends.base import Closing, OfOneProcess
from QEfficient.backends.threads import ENDING
from QEfficient.errors import DeviceError

_SESSIONS: weakref.WeakSet[CardSession] = weakref.WeakSet()
_log = logging.getLogger(__name__)


class CardSession(OfOneProcess, Closing):
    """What holds a card's cores. Closing it may fail."""

    def __exit__(self, *error: object) -> None:
        try:
            self.close()
        except DeviceError as closing:
            if error[1] is None:
                raise
            _log.warning("Closing the session failed as well: %s", closing)  # the error inside is the one to show


def close_at_exit(session: CardSession) -> None:
    """Has a session closed at the interpreter's end, if it is still there.

    No thread may be inside the native runtime then, and the cores go back.
    """
    _SESSIONS.add(session)


def _exiting() -> None:
    ENDING.set()
    for session in list(_SESSIONS):
        try:
            session.close()
        except DeviceError as error:
            _log.warning("Closing a session at exit failed: %s", error)


atexit.register(_exiting)
