"""What a system says when it refuses to read or write, as errors for the reader: which path, how much room, what to do.

A stage's files are written by many hands: Python, onnx_ir, and libraries in Rust and C++ with exceptions of their own,
some of which keep nothing of the system's error but its text, or not even that.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from QEfficient import settings
from QEfficient.errors import CacheError, QEfficientError

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})
# never about a model or a caller's file: whoever meets one of these, the machine is what stops the work
_OF_THE_MACHINE = DISK_FULL | TOO_MANY_FILES | {errno.EFBIG, errno.EROFS}


def disk_error(error: OSError, what: str, path: Path, *, needed: int | None = None, written: int = 0) -> CacheError:
    """The readable form of an operating system's error.

    Args:
        error: What the system said.
        what: What was given up, as one sentence.
        path: What was read or written.
        needed: Bytes that all of it takes, where that is known.
        written: Bytes that are there already, and will be removed.
    """
    ours = path.absolute().is_relative_to(settings.home())
    elsewhere = "point QEFF_HOME to another disk" if ours else "choose a folder on another disk"
    if error.errno in DISK_FULL:
        allowed = "free space on that disk" if error.errno == errno.ENOSPC else "room within the quota of that disk"
        do = f"free some space{' (`qefficient cache prune`)' if ours else ''}, or {elsewhere}"
    elif error.errno in NOT_WRITABLE:
        allowed = "a folder that can be written"
        do = f"make it writable, or {'point QEFF_HOME to a folder that is' if ours else 'choose a folder that is'}"
    elif error.errno == errno.EFBIG:
        allowed = "a limit on the size of files (`ulimit -f`) and a file system that take files as large as the weights"
        do = f"raise the limit, or {elsewhere}"
    elif error.errno in TOO_MANY_FILES:
        allowed = "fewer open files than the limit of this process or machine (`ulimit -n`)"
        do = "close files, or raise the limit"
    else:
        allowed = "a disk that can be read and written"
        do = f"look at the cause and at the free space, or {elsewhere}"
    room = _room(path, needed, written) if error.errno in DISK_FULL | {errno.EFBIG} else ""
    full = f"The disk is full. {what}" if error.errno in DISK_FULL else what
    return CacheError(full, got=f"{path}: {error.strerror or error}{room}", allowed=allowed, do=do)


def _room(path: Path, needed: int | None, written: int) -> str:
    known = ["" if needed is None else f"{_size(needed)} needed", f"{_size(written)} written before" if written else ""]
    there = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), None)
    if there is not None:
        usage = shutil.disk_usage(there)
        known.append(f"{_size(usage.free)} of {_size(usage.total)} free there")
    return "".join(f"; {each}" for each in known if each)


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count} bytes"


@contextmanager
def disk_errors(what: str, path: Path, *, needed: int | None = None) -> Iterator[None]:
    """Turns an ``OSError`` of the block, which does nothing but disk operations, into a ``CacheError``."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, what, path, needed=needed) from error


@contextmanager
def write_errors(what: str, folder: Path) -> Iterator[None]:
    """Turns whatever a block raises because the system lets it write no more into a ``CacheError``; nothing else.

    Args:
        what: What was given up, as one sentence.
        folder: Where the block writes; what is there already is counted.
    """
    try:
        yield
    except CacheError:
        raise
    except Exception as error:
        refused = refusal(error, folder) or (None if isinstance(error, QEfficientError) else _asked(folder))
        if refused is None:
            raise
        path = next((Path(name) for name in _names(refused) if _below(name, folder)), folder)
        raise disk_error(refused, what, path, written=_bytes_below(folder)) from error


def refusal(error: Exception, folder: Path) -> OSError | None:
    """The system's error behind an error, where it is about the machine, or plainly about writing into ``folder``.

    A library's exception counts by what led to it, or by the system's own words in its text.
    """
    if isinstance(error, OSError) and any(_below(name, folder) for name in _names(error)):
        return error
    return next((found for each in _chain(error) if (found := _of_the_machine(each))), None)


def _of_the_machine(error: BaseException) -> OSError | None:
    if isinstance(error, QEfficientError):
        return None  # ours quote what tools print, which may be about other disks
    if isinstance(error, OSError) and error.errno is not None:
        return error if error.errno in _OF_THE_MACHINE else None
    text = str(error)
    number = next((number for number in sorted(_OF_THE_MACHINE) if os.strerror(number) in text), None)
    return None if number is None else OSError(number, os.strerror(number))


def _asked(folder: Path) -> OSError | None:
    """What the system says to a small file in ``folder`` now: some libraries keep nothing of what it said to them."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        probe.write_bytes(bytes(1 << 16))
    except OSError as error:
        return _of_the_machine(error)
    finally:
        with suppress(OSError):
            probe.unlink()
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _names(error: OSError) -> list[str]:
    """The paths that an error is about; of two, the one that was written comes first."""
    return [os.fsdecode(name) for name in (error.filename2, error.filename) if isinstance(name, (str, bytes))]


def _below(name: str, folder: Path) -> bool:
    return Path(name).absolute().is_relative_to(folder.absolute())


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(root, name))
            total += status.st_size if status.st_nlink == 1 else 0  # a link takes no room
    return total
