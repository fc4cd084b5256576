"""What the small models that tests train have in common: one CPU while they learn, and a folder that keeps them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parent.parent


@contextmanager
def one_thread() -> Iterator[None]:
    """While it is entered, torch takes one CPU: such small matrices gain nothing by two, and wait where others work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def kept(name: str, made_by: Path, write: Callable[[Path], object]) -> Path:
    """A model's folder in ``.data/`` of the checkout; makes it where it is not there.

    Args:
        name: What the folder's name begins with; it ends with the digest of a file, so that a change of that makes
            another model.
        made_by: That file.
        write: Writes the model into a folder that is not there yet.
    """
    digest = hashlib.sha256(made_by.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".data" / f"{name}-{digest}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.parent / f"{name}.lock"):  # tests run side by side
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            write(partial)
            partial.replace(folder)
    return folder
