"""The store of artefacts below ``QEFF_HOME``: each is looked up by content and built once, by one process.

    QEFF_HOME/<model name>/<stage>-<key>/   an artefact; complete from the moment it is there
    QEFF_HOME/tmp/                          work folders, each with a lock file while it is in use
    QEFF_HOME/locks/                        one lock file a key
    QEFF_HOME/digests/                      remembered digests of files
    QEFF_HOME/tunings/                      how programs run fastest on this machine

Nobody cleans up by hand: what a killed process leaves in ``tmp`` is removed by the next call.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from QEfficient import settings
from QEfficient.cache.codec import canonical_json
from QEfficient.cache.digests import KEY_LENGTH, content_key, forget_missing
from QEfficient.cache.disk import disk_errors, write_errors
from QEfficient.cache.envelope import Envelope, check_files, listed_only, read_envelope
from QEfficient.cache.files import locked, swap, sweep, sync_tree, work_folder
from QEfficient.errors import ArtefactError, CacheError, CorruptArtefactError, ManifestError, StaleProgramError
from QEfficient.records import Json

log = logging.getLogger(__name__)

_OWN_FOLDERS = ("tmp", "locks", "digests", "tunings")
_ENTRY = re.compile(rf"(?P<stage>.+)-(?P<key>[0-9a-f]{{{KEY_LENGTH}}})")
_UNUSABLE = (ManifestError, StaleProgramError, CorruptArtefactError)


def safe_name(name: str) -> str:
    """A model's name as a folder name: ``"org/model"`` → ``"org--model"``; the last 80 characters of a long one."""
    text = re.sub(r"[^A-Za-z0-9._-]", "_", name.strip("/").replace("/", "--"))
    text = text[-80:].lstrip(".-") or "model"
    return f"{text}_" if text in _OWN_FOLDERS else text


@dataclass(frozen=True, slots=True)
class Entry:
    """An artefact in the cache.

    Attributes:
        path: Its folder.
        model: The model's name as a folder name.
        stage, key: The two parts of the folder's name.
        created: UTC time; of the folder when the manifest can't be read.
        envelope: The manifest, or ``None`` when it can't be used.
        problem: Why it can't be used, or ``None``.
    """

    path: Path
    model: str
    stage: str
    key: str
    created: datetime
    envelope: Envelope | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """An ingredient that two keys do not share: its dotted name, and both values as JSON (``None``: not there)."""

    ingredient: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the call that made ``entry`` missed: the older entry nearest to it, and where their keys differ."""

    entry: Entry
    nearest: Entry
    differences: tuple[Difference, ...]


class Cache:
    """Artefacts below one folder. Any number of threads, processes and forked children may use it at once.

    Args:
        home: Where artefacts are kept; ``QEFF_HOME`` when left out.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = settings.home() if home is None else Path(home).absolute()

    def entry_path(self, name: str, stage: str, ingredients: Mapping[str, Json]) -> Path:
        """Where the artefact of these ingredients is, or will be."""
        return self.home / safe_name(name) / f"{stage}-{content_key(ingredients)}"

    def lookup(self, name: str, stage: str, ingredients: Mapping[str, Json]) -> Path | None:
        """The artefact's folder, or ``None``. Sizes are checked, digests are not. Nothing is written.

        A damaged entry is a miss, with a warning in the log; the next :meth:`get_or_build` replaces it.
        """
        entry = self.entry_path(name, stage, ingredients)
        if not os.path.lexists(entry):
            return None
        try:
            self._check(entry, stage, ingredients)
        except _UNUSABLE as error:
            log.warning("an entry of the cache can't be used and will be built again: %s\n%s", entry, error)
            return None
        return entry

    def get_or_build(
        self, name: str, stage: str, ingredients: Mapping[str, Json], build: Callable[[Path], None]
    ) -> tuple[Path, bool]:
        """The artefact of these ingredients, built if it is not there.

        Args:
            name: The model's name; only sorts the folders.
            stage: ``"onnx"`` or ``"program"``.
            ingredients: All that shapes the artefact, by content. Values as :func:`canonical_json` takes them.
            build: Writes the artefact into the empty folder it is given and seals it with ``write_envelope``, with
                the same stage and key. Of several threads and processes with the same key one builds, the others wait.

        Returns:
            The folder, which must never be changed, and whether it was there already.

        Raises:
            CacheError: The disk is full, or can't be written; also where ``build`` says so in an exception of its own.
            Exception: Whatever else ``build`` raises, unchanged. Nothing of its work is left.
        """
        entry = self.entry_path(name, stage, ingredients)
        self.sweep()
        if self.lookup(name, stage, ingredients) is not None:
            return entry, True
        with locked(self._lock_file(entry)):
            if self.lookup(name, stage, ingredients) is not None:
                return entry, True
            with self.work_folder() as work:
                new = work / "new"
                self._build(new, stage, ingredients, build)
                self._publish(new, entry, work / "old")
        return entry, False

    def adopt(self, other: Cache, stage: str) -> None:
        """Moves another cache's artefacts of a stage here; what is here already stays.

        Args:
            other: A cache on the same disk that nobody else uses.
            stage: As in :meth:`get_or_build`.

        Raises:
            CacheError: The disk is full or can't be written.
        """
        for found in other.entries():
            entry = self.home / found.model / found.path.name
            if found.stage != stage or os.path.lexists(entry):
                continue
            with locked(self._lock_file(entry)), self.work_folder() as work:
                if not os.path.lexists(entry):
                    self._publish(found.path, entry, work / "old")

    def work_folder(self) -> AbstractContextManager[Path]:
        """An empty folder on the cache's disk, for work whose key is not known yet; removed at the end."""
        return work_folder(self.home / "tmp")

    def sweep(self) -> int:
        """Removes the work folders that killed processes left; returns their number."""
        return sweep(self.home / "tmp")

    def _lock_file(self, entry: Path) -> Path:
        return self.home / "locks" / f"{entry.parent.name}--{entry.name}.lock"

    def _check(self, folder: Path, stage: str, ingredients: Mapping[str, Json]) -> Envelope:
        envelope = read_envelope(folder)
        if envelope.stage != stage or canonical_json(envelope.key) != canonical_json(ingredients):
            names = ", ".join(d.ingredient for d in differences(ingredients, envelope.key)) or "stage"
            raise CorruptArtefactError(
                "An artefact was made for another key than its folder says.",
                got=f"{folder}: other {names}",
                allowed=f"stage {stage!r} and the ingredients that it was looked up with",
                do="remove the folder; it will be built again",
            )
        check_files(folder, envelope)
        return envelope

    def _build(self, folder: Path, stage: str, ingredients: Mapping[str, Json], build: Callable[[Path], None]) -> None:
        with disk_errors("The cache can't be written.", folder):
            folder.mkdir()
        started = time.perf_counter()
        with write_errors(f"The {stage} stage was given up.", folder):
            build(folder)
        listed_only(folder, self._check(folder, stage, ingredients))
        log.info("built the %s stage in %.1f s", stage, time.perf_counter() - started)

    def _publish(self, new: Path, entry: Path, old: Path) -> None:
        """The one moment at which an entry comes to be. A damaged one in its place goes to the work folder."""
        with disk_errors("The cache can't be written.", entry):
            sync_tree(new)
            entry.parent.mkdir(exist_ok=True)
            swap(new, entry, old)

    def entries(self, model: str | None = None) -> tuple[Entry, ...]:
        """Every entry, oldest first, or those of one model (a repo id, or the name of its folder)."""
        found = []
        with disk_errors("The cache can't be read.", self.home):
            folders = sorted(self.home.iterdir()) if self.home.is_dir() else []
            for folder in folders:
                if folder.is_dir() and folder.name not in _OWN_FOLDERS and model in (None, folder.name):
                    found += [_entry(path) for path in sorted(folder.iterdir()) if _ENTRY.fullmatch(path.name)]
        if model is not None and not found and safe_name(model) != model:
            return self.entries(safe_name(model))
        return tuple(sorted(found, key=lambda entry: entry.created))

    def explain(self, model: str | None = None, stage: str | None = None) -> tuple[Explanation, ...]:
        """Why the latest call missed, for each model and stage: see :class:`Explanation`.

        Models and stages with fewer than two entries that can be read have nothing to compare and are left out.
        """
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries(model):
            if entry.envelope is not None and stage in (None, entry.stage):
                groups.setdefault((entry.model, entry.stage), []).append(entry)
        return tuple(_explain(group) for group in groups.values() if len(group) > 1)

    def verify(self, model: str | None = None) -> tuple[tuple[Entry, str | None], ...]:
        """Reads every file of every entry and compares digests: each entry with its problem, or ``None``."""
        return tuple((entry, entry.problem or _damage(entry)) for entry in self.entries(model))

    def prune(
        self,
        model: str | None = None,
        *,
        before: datetime | None = None,
        max_bytes: int | None = None,
        dry_run: bool = False,
    ) -> tuple[Entry, ...]:
        """Removes entries, oldest first, and what killed processes left.

        Args:
            model: Only those of this model.
            before: Only those made before this time (with a time zone).
            max_bytes: Only as many as it takes for the rest of the choice to fit.
            dry_run: Remove nothing.

        Returns:
            The entries that were, or would be, removed.
        """
        entries = self.entries(model)
        chosen = [entry for entry in entries if before is None or entry.created < before]
        if max_bytes is not None:
            chosen = _oldest_until(entries, chosen, max_bytes)
        if not dry_run:
            self.remove(chosen)
        return tuple(chosen)

    def remove(self, entries: Iterable[Entry]) -> None:
        """Removes entries, what killed processes left, and the remembered digests of files that are gone."""
        self.sweep()
        for entry in entries:
            self._remove(entry)
        with disk_errors("The cache can't be written.", self.home):
            forget_missing()

    def _remove(self, entry: Entry) -> None:
        with locked(self._lock_file(entry.path)), self.work_folder() as work:
            with disk_errors("An entry of the cache can't be removed.", entry.path):
                if os.path.lexists(entry.path):
                    os.rename(entry.path, work / "old")  # gone in one step; the work folder deletes the files


def _entry(path: Path) -> Entry:
    match = _ENTRY.fullmatch(path.name)
    assert match is not None  # the caller has matched it
    envelope, problem = None, None
    try:
        envelope = read_envelope(path)
        check_files(path, envelope)
        created = datetime.fromisoformat(envelope.created)
    except (*_UNUSABLE, CacheError, ValueError) as error:
        envelope, problem = None, str(error)
        created = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    return Entry(path, path.parent.name, match["stage"], match["key"], created, envelope, problem)


def _oldest_until(entries: Sequence[Entry], chosen: Sequence[Entry], max_bytes: int) -> list[Entry]:
    """The first of ``chosen`` whose removal brings ``entries`` down to ``max_bytes``; all of them if none does."""
    for count in range(len(chosen)):
        if total_bytes(entry for entry in entries if entry not in chosen[:count]) <= max_bytes:
            return list(chosen[:count])
    return list(chosen)


def _damage(entry: Entry) -> str | None:
    assert entry.envelope is not None  # an entry without a problem has been read
    try:
        check_files(entry.path, entry.envelope, digests=True)
    except ArtefactError as error:
        return str(error)
    return None


def _explain(group: list[Entry]) -> Explanation:
    latest = group[-1]
    options = [Explanation(latest, old, _between(old, latest)) for old in reversed(group[:-1])]
    return min(options, key=lambda option: len(option.differences))  # the latest of those that are equally near


def _between(old: Entry, new: Entry) -> tuple[Difference, ...]:
    assert old.envelope is not None and new.envelope is not None
    return differences(old.envelope.key, new.envelope.key)


def differences(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Difference, ...]:
    """The ingredients that differ between two keys, by dotted name."""
    old, new = _flat(before), _flat(after)
    return tuple(Difference(n, old.get(n), new.get(n)) for n in sorted(old | new) if old.get(n) != new.get(n))


def _flat(value: Mapping[str, Json], where: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{where}{name}.")
        else:
            flat[where + name] = canonical_json(item)
    return flat


def total_bytes(entries: Iterable[Entry]) -> int:
    """Bytes that entries take on disk; a file that is linked into several counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for entry in entries:
        for root, _, names in os.walk(entry.path):
            for name in names:
                status = os.lstat(os.path.join(root, name))
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())
