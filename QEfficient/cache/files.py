"""Disk operations that leave nothing half-written: work folders under a lock, links, flushes."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from QEfficient import fork, settings
from QEfficient.cache.disk import disk_errors, write_errors
from QEfficient.errors import CacheError

log = logging.getLogger(__name__)


def hash_file(path: Path, *, sync: bool = False) -> str:
    """SHA-256 of a file's content, streamed; with ``sync`` the file is flushed to disk as well."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
    return digest


def sync_file(path: Path) -> None:
    """Flushes a file's content to disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flushes the names in a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems can't, and need not
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flushes the names in a folder and in all below it. Files are flushed by whoever writes them."""
    for path, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(path))


def replace_file(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Writes a file aside and renames it into place: a reader sees the old content or the new, never a part."""
    with replacing(path, sync=sync) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file aside to write into, renamed into place when the block ends without an error."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def swap(new: Path, place: Path, old: Path) -> None:
    """Renames a folder into place. What stands there goes to ``old``, and back again where that fails."""
    if os.path.lexists(place):
        os.rename(place, old)
    try:
        os.rename(new, place)
    except OSError:
        if os.path.lexists(old):
            os.rename(old, place)
        raise
    sync_folder(place.parent)


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name with ``/`` and path of every file below a folder, in a fixed order.

    Raises:
        CacheError: A link or a special file. An artefact holds plain files only.
    """
    for root, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in sorted(names + links):
            path = Path(root, name)
            if not stat.S_ISREG(path.lstat().st_mode):
                raise CacheError(
                    "An artefact can't be sealed: one of its files is a link or no plain file.",
                    got=str(path),
                    allowed="plain files",
                    do="copy the file's content into the folder (cache.link_or_copy)",
                )
            yield path.relative_to(folder).as_posix(), path


def link_or_copy(src: Path, dst: Path) -> None:
    """Gives ``dst`` the content of ``src``: a hard link where ``src`` belongs to the cache, else a copy.

    Entries of the cache never change, so they can share a file. Anything else may be edited in place by its owner, and
    a link would carry the edit into the artefact: such files are always copied. Links are followed.

    Raises:
        CacheError: ``dst`` exists, or the disk is full or can't be written. No part of a copy is left.
    """
    src, dst = Path(os.path.realpath(src)), Path(dst)
    what = f"A file could not be copied to {dst}."
    with disk_errors(what, src):
        if src.is_relative_to(os.path.realpath(settings.home())):
            try:
                os.link(src, dst)
                return
            except FileExistsError:
                raise
            except OSError as error:  # another disk, a file system without links, too many links: copy
                log.debug("no hard link from %s to %s: %s", src, dst, error)
        _copy(src, dst)


def _copy(src: Path, dst: Path) -> None:
    with open(src, "rb") as source, open(dst, "xb") as target:
        try:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()  # here a full disk is met inside of the try
        except BaseException:
            dst.unlink(missing_ok=True)
            raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file ``path``, waiting for other threads and processes. The system frees it if we are killed."""
    from filelock import FileLock, Timeout  # 30 ms that a warm cache does not need

    with disk_errors("The cache can't take a lock.", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process or thread that holds %s", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def work_folder(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A new empty folder in ``parent``, removed at the end whatever happens.

    Its lock file, beside it, is held all the while. A killed process frees the lock, so that :func:`sweep` knows the
    folder for rubbish. Names are never used twice: that makes it safe to delete a lock file.

    Raises:
        CacheError: It can't be made; or, whatever library writes in the block, the disk or the machine lets it write no
            more.
    """
    folder = parent / f"{prefix}{uuid.uuid4().hex}"
    lock_file = _lock_of(folder)
    with locked(lock_file):
        owner = fork.process()
        try:
            with disk_errors("A work folder can't be made.", folder):
                lock_file.touch()  # a sweep that came between creation and lock has deleted it
                folder.mkdir()
            with write_errors("The work was given up.", folder):
                yield folder
        finally:
            if fork.process() is owner:  # a forked child that unwinds through here owns nothing
                _remove(folder)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove(folder: Path) -> None:
    """Deletes a work folder, then its lock file. What can't be deleted is left to the next sweep."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        log.debug("%s was not there any more", folder)
    except OSError as error:
        log.warning("a work folder could not be removed: %s", error)
        return
    _lock_of(folder).unlink(missing_ok=True)


def sweep(parent: Path, prefix: str = "") -> int:
    """Removes the work folders in ``parent`` that killed processes left; returns their number.

    A folder that can't be removed (another user's, or a read-only disk) is left and logged.
    """
    try:
        names = os.listdir(parent)
    except FileNotFoundError:
        return 0
    except OSError as error:
        log.debug("can't sweep %s: %s", parent, error)
        return 0
    left = [parent / name for name in names if name.startswith(prefix) and name.endswith(".lock")]
    return sum(_sweep_one(lock_file) for lock_file in left)


def _sweep_one(lock_file: Path) -> bool:
    from filelock import FileLock, Timeout  # only when there is something to sweep

    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False  # its owner is alive
    except OSError as error:
        log.debug("can't sweep %s: %s", lock_file, error)
        return False
    try:
        _remove(lock_file.with_suffix(""))
    finally:
        lock.release()
    return True
