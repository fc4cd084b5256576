"""The folder of a step that may be refused once it was done: it is as before then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from QEfficient.errors import CompressionRefusedError


@contextmanager
def as_before_if_refused(folder: Path) -> Iterator[None]:
    """Takes away what was written into a folder while it was entered, and folders above that, where a guard refuses it.

    Whatever else goes wrong leaves the folder as it stands: a training that was broken off goes on from there.

    Args:
        folder: Where it is written; it need not be there.
    """
    before = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        yield
    except CompressionRefusedError:
        for one in list(folder.iterdir()) if folder.is_dir() else ():
            if one.name not in before:
                _remove(one)
        with suppress(OSError):  # others may have put something there since
            for one in missing:
                one.rmdir()
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
