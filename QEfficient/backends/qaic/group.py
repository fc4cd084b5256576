"""A process group for a command of the SDK, which ends with this process, however that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Self

from QEfficient import fork

_GRACE_SECONDS = 5.0
# This shell reads a pipe that nobody writes to. The pipe closes when this process ends, also by SIGKILL, and the shell
# then ends the group. It is the group's leader: the group is there before its first command, under a number of its own.
_WATCH = "trap '' TERM HUP INT; read -r _; kill -TERM 0; sleep 2; kill -KILL 0"
_ends: set[int] = set()


class Group:
    """With ``with``: commands started with ``process_group=group.id`` are ended at the end of the block.

    The group is none of the terminal's: Ctrl-C reaches this process alone, which ends the group.
    """

    def __enter__(self) -> Self:
        read, self._write = os.pipe()
        try:
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            os.close(self._write)
            raise
        finally:
            os.close(read)
        _ends.add(self._write)
        return self

    @property
    def id(self) -> int:
        """Its number."""
        return self._watcher.pid

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ends all commands of the group, which ``process`` is one of: asks first, and waits a little for that one."""
        try:
            self._signal(process, signal.SIGTERM)
        finally:  # also on a second Ctrl-C, by somebody who does not want to wait
            self._signal(process, signal.SIGKILL)

    def _signal(self, process: subprocess.Popen[bytes], number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # all of the group has ended
            os.killpg(self.id, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.id, signal.SIGKILL)
        _ends.discard(self._write)
        os.close(self._write)
        self._watcher.wait()


def _forked() -> None:
    """A forked child must not hold open what is to end with its parent; it has none of the threads that wait there."""
    for descriptor in _ends:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _ends.clear()


fork.in_child(_forked)
