"""A system that refuses to write, for real and without root: a limit on the size of files, or on their number.

No file is put on ``/dev/full``: some writers replace what a link names, and root may.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager


@contextlib.contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file gets longer than ``size`` bytes; what is printed meanwhile goes nowhere, as it may be a file's."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with limited(resource.RLIMIT_FSIZE, size):  # Python ignores the signal that comes with it
            yield


@contextlib.contextmanager
def no_more_open_files() -> Iterator[None]:
    """As many files are open as may be."""
    free = os.dup(0)  # the lowest number that is free
    os.close(free)
    with limited(resource.RLIMIT_NOFILE, free):
        yield


WAYS: dict[int, Callable[[], AbstractContextManager[None]]] = {
    errno.EFBIG: lambda: files_up_to(100),
    errno.EMFILE: no_more_open_files,
}
