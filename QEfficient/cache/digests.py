"""Content keys: digests of files, remembered by their stat; versions of the packages that shape an artefact."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from QEfficient import settings
from QEfficient.cache.codec import canonical_json
from QEfficient.cache.disk import disk_errors
from QEfficient.cache.files import hash_file, replace_file
from QEfficient.errors import CacheError
from QEfficient.records import Json

log = logging.getLogger(__name__)

KEY_LENGTH = 24  # hex digits: 96 bits
PACKAGES = ("torch", "transformers", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy", "tokenizers")

# A file that changed less than this before it was hashed may change again without a new time stamp: such a digest
# is not remembered. The coarsest stamps in use are FAT's, 2 s; the rest is for a server's clock that is ahead of or
# behind ours.
_SETTLED_NS = 3_000_000_000
_ATTEMPTS = 3


def content_key(ingredients: Mapping[str, Json]) -> str:
    """The key of an artefact: 24 hex digits of the SHA-256 of its ingredients' canonical JSON."""
    return hashlib.sha256(canonical_json(ingredients).encode()).hexdigest()[:KEY_LENGTH]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, as hex.

    It is remembered below ``QEFF_HOME/digests`` under the file's real path, together with size, inode, mtime and
    ctime, and read again only when one of these differs. A file that was changed within the last seconds is hashed
    but not remembered: a second change could carry the same time stamp.

    Raises:
        CacheError: It can't be read, is not a plain file, or changes while it is read.
    """
    return _digest(path, _remembered())


def file_digests(paths: Iterable[Path]) -> dict[str, str]:
    """Name of a file → its digest, as :func:`file_digest` gives it."""
    folder = _remembered()
    return {path.name: _digest(path, folder) for path in paths}


def _digest(path: str | Path, remembered: Path) -> str:
    real = os.path.realpath(path)
    with disk_errors("A file can't be read to compute its digest.", Path(real)):
        facts = _facts(os.stat(real), real)
        # One small file a path: written by rename, so any number of processes may read and write it.
        memory = remembered / hashlib.sha256(os.fsencode(real)).hexdigest()[:32]
        return _recall(memory, facts) or _hash_and_remember(real, memory)


@dataclass(frozen=True, slots=True)
class Watched:
    """Files as they were when their digests were asked for.

    A key is made of digests before the files are read for use. What was made of them may be kept under that key only
    if they are still the same then.
    """

    stamps: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Watched:
        """Watches the files from now on."""
        return cls({real: _stamp(real) for real in map(os.path.realpath, paths)})

    def changed(self) -> bool:
        """Whether size, inode or times of a file are others now; nothing is read."""
        try:
            self.refuse_changed()
        except CacheError:
            return True
        return False

    def refuse_changed(self) -> None:
        """Looks at size, inode and times again; nothing is read.

        Raises:
            CacheError: A file was changed, or is gone.
        """
        for real, stamp in self.stamps.items():
            if _stamp(real) != stamp:
                raise _changing(real)


def _stamp(real: str) -> dict[str, int]:
    with disk_errors("A file can't be read to compute its digest.", Path(real)):
        return _facts(os.stat(real), real)


def _hash_and_remember(real: str, memory: Path) -> str:
    for _ in range(_ATTEMPTS):
        started = time.time_ns()
        before = _facts(os.stat(real), real)
        digest = hash_file(Path(real))
        if _facts(os.stat(real), real) == before:
            if max(before["mtime_ns"], before["ctime_ns"]) < started - _SETTLED_NS:
                _remember(memory, real, before, digest)
            return digest
    raise _changing(real)


def _changing(real: str) -> CacheError:
    return CacheError(
        "A file changes while it is read.",
        got=real,
        allowed="a file that stays as it is",
        do="wait until whatever writes it has finished, then call again",
    )


def _facts(status: os.stat_result, real: str) -> dict[str, int]:
    if not stat.S_ISREG(status.st_mode):
        raise CacheError(
            "A digest was asked of something that is not a file.", got=real, allowed="a plain file", do="check the path"
        )
    return {
        "size": status.st_size,
        "inode": status.st_ino,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }


def _remembered() -> Path:
    return settings.home() / "digests"


def _recall(memory: Path, facts: Mapping[str, int]) -> str | None:
    try:
        record = json.loads(memory.read_bytes())
    except (OSError, ValueError):  # none, or cut short by a power failure: hash again
        return None
    if not isinstance(record, dict) or record.get("facts") != facts:
        return None
    digest = record.get("sha256")
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _remember(memory: Path, real: str, facts: Mapping[str, int], digest: str) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        record = {"path": real, "facts": facts, "sha256": digest}
        replace_file(memory, json.dumps(record).encode(), sync=False)
    except OSError as error:  # it only saves time
        log.debug("the digest of %s is not remembered: %s", real, error)


def forget_missing() -> None:
    """Drops what is remembered of files that are gone, and what a process that was killed had begun to write."""
    folder = _remembered()
    for memory in folder.iterdir() if folder.is_dir() else ():
        try:
            gone = memory.suffix == ".tmp" or not os.path.exists(json.loads(memory.read_bytes())["path"])
        except (OSError, ValueError, KeyError, TypeError):
            gone = True
        if gone:
            memory.unlink(missing_ok=True)


def library_versions() -> dict[str, str]:
    """Package → installed version, for those that shape an artefact. None of them is imported.

    A package that is not installed has the version ``"absent"``. The version of QEfficient carries a digest of its
    source when it runs from a checkout, where the code changes and the version does not.
    """
    from importlib import metadata  # 15 ms that loading a program does not need

    versions = {"QEfficient": own_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions


@cache  # the code that runs is the code that was imported
def own_version() -> str:
    """Version of QEfficient; ``+source.<digest>`` is added when it runs from a checkout."""
    from importlib import metadata  # see library_versions

    here = Path(__file__).resolve().parents[1]
    try:
        distribution = metadata.distribution("QEfficient")
    except metadata.PackageNotFoundError:
        return f"0+source.{_source_digest(here)}"
    installed = Path(str(distribution.locate_file("QEfficient")))
    if installed.exists() and installed.samefile(here) and not (here.parent / ".git").exists():
        return distribution.version
    return f"{distribution.version}+source.{_source_digest(here)}"


def _source_digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
