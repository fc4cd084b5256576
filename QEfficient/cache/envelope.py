"""The manifest of an artefact's folder, ``qefficient.json``: written last, sealed, checked when read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PureWindowsPath

from QEfficient.cache.codec import bad_manifest, canonical_json, from_json, to_json
from QEfficient.cache.disk import disk_errors
from QEfficient.cache.files import files_below, hash_file, replace_file, sync_file
from QEfficient.errors import CacheError, CorruptArtefactError, ManifestError, StaleProgramError
from QEfficient.records import FileFacts, Json

MANIFEST = "qefficient.json"
FORMAT = 5


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every manifest holds, whatever its stage.

    Attributes:
        format: Version of this layout.
        stage: ``"onnx"`` or ``"program"``.
        created: UTC time, ISO 8601 with microseconds.
        key: Every ingredient of the cache key, in clear.
        versions: Package → version when it was made.
        body: What the stage itself records.
        files: Relative path with ``/`` → size and digest, for every file but the manifest.
        seal: SHA-256 over all the fields above; shows that nobody edited them.
    """

    format: int
    stage: str
    created: str
    key: Mapping[str, Json]
    versions: Mapping[str, str]
    body: Mapping[str, Json]
    files: Mapping[str, FileFacts]
    seal: str = ""


def write_envelope(
    folder: Path,
    *,
    stage: str,
    key: Mapping[str, Json],
    versions: Mapping[str, str],
    body: Mapping[str, Json],
    known: Mapping[str, str] | None = None,
) -> Envelope:
    """Seals a folder: digests every file in it, flushes them to disk, and writes the manifest last.

    Args:
        folder: Holds the finished artefact, as plain files.
        stage: See :class:`Envelope`, as for the rest.
        key: Every ingredient of the cache key.
        versions: Package → version.
        body: What the stage itself records.
        known: Name → SHA-256 of files that the caller has read or written in this folder, or linked from a sealed one:
            they are flushed, and not read again.

    Raises:
        CacheError: The disk is full or can't be written, or the folder holds a link.
    """
    files = {}
    with disk_errors("An artefact can't be sealed.", folder):
        for name, path in files_below(folder):
            if name != MANIFEST:
                found = (known or {}).get(name)
                if found is None:
                    found = hash_file(path, sync=True)
                else:
                    sync_file(path)
                files[name] = FileFacts(path.stat().st_size, found)
        envelope = Envelope(
            format=FORMAT,
            stage=stage,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            key=to_json(key, paths=False),
            versions=dict(versions),
            body=to_json(body),
            files=files,
        )
        envelope = replace(envelope, seal=_seal(envelope))
        replace_file(folder / MANIFEST, (json.dumps(to_json(envelope), indent=1) + "\n").encode())
    return envelope


def read_envelope(folder: Path, *, sealed: bool = True) -> Envelope:
    """Reads and checks the manifest of a folder.

    Args:
        folder: An artefact's folder, possibly a snapshot of a hub cache.
        sealed: Check the seal as well. A stage that parses the body itself does that first, so that its message names
            the wrong field, and then calls :func:`check_seal`.

    Raises:
        ManifestError: It is missing, malformed or was edited.
        StaleProgramError: It has another format.
        CorruptArtefactError: It is a link to somewhere else.
        CacheError: It can't be read.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise ManifestError(
            "This folder is not an artefact of QEfficient: it has no manifest.",
            got=str(folder),
            allowed=f"a folder with {MANIFEST}",
            do="give the folder that save_pretrained or compile made, or compile the model again",
        )
    check_inside(folder, MANIFEST)
    with disk_errors("The manifest can't be read.", path):
        data = path.read_bytes()
    raw = _parse_json(data, path)
    _refuse_other_format(raw, folder)
    envelope = from_json(Envelope, raw)
    if sealed:
        check_seal(envelope, folder)
    return envelope


def check_seal(envelope: Envelope, folder: Path) -> None:
    """Refuses a manifest that was edited after it was written.

    Raises:
        ManifestError: The seal does not fit the fields.
    """
    if envelope.seal != _seal(envelope):
        got, allowed = f"{folder / MANIFEST}: seal = {envelope.seal[:80]!r}", "the seal of its other fields, "
        raise bad_manifest("was changed after it was written", got, allowed + _seal(envelope))


def _seal(envelope: Envelope) -> str:
    return sha256(canonical_json({**to_json(envelope), "seal": ""}).encode()).hexdigest()


def _parse_json(data: bytes, path: Path) -> dict[str, Json]:
    try:
        raw = json.loads(data)
        canonical_json(raw)  # refuses NaN and Inf, which json.loads takes
    except (ValueError, RecursionError) as error:
        got = f"{path}, {len(data)} bytes: {str(error).splitlines()[0]}"
        raise bad_manifest("is not valid JSON", got, "the file as it was written") from error
    if not isinstance(raw, dict):
        raise bad_manifest("holds no object", f"{path}: {type(raw).__name__}", "a JSON object")
    return raw


def _refuse_other_format(raw: Mapping[str, Json], folder: Path) -> None:
    """Before anything else is parsed: another format may have other fields."""
    found = raw.get("format")
    if type(found) is not int or found == FORMAT:
        return  # a mistyped or missing field is named by the parser
    model: Json = raw.get("body")
    for name in ("model", "name"):
        model = model.get(name) if isinstance(model, dict) else None
    line = f'QEFFAutoModel.from_pretrained("{model if isinstance(model, str) else "<model id or folder>"}").compile()'
    versions = raw.get("versions")
    maker = versions.get("QEfficient") if isinstance(versions, dict) else None
    raise StaleProgramError(
        "The artefact has another manifest format.",
        got=f"{folder}: format {found}, made by QEfficient {maker or '(unknown)'}",
        allowed=f"format {FORMAT}",
        do=f"compile it again: {line}",
    )


def check_files(folder: Path, envelope: Envelope, *, digests: bool = False) -> None:
    """Checks that every file of a manifest is there with its size, and inside the folder.

    Links that lead out of the folder are refused, except into the blob folder of the same repo when the folder is a
    snapshot of a HuggingFace hub cache (``models--x--y/snapshots/<commit>`` → ``models--x--y/blobs``).

    Args:
        folder: The artefact's folder.
        envelope: Its manifest.
        digests: Read every file and compare its SHA-256 as well. Nothing remembered is used.

    Raises:
        CorruptArtefactError: A file is missing, short, altered, or outside the folder.
        CacheError: A file can't be read.
    """
    for name, facts in envelope.files.items():
        path = check_inside(folder, name)
        with disk_errors("A file of the artefact can't be read.", path):
            _check_file(path, name, facts, digests)


def _check_file(path: Path, name: str, facts: FileFacts, digests: bool) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise corrupt("is missing", f"{name} in {path.parent}", "every file that the manifest lists") from error
    if not stat.S_ISREG(status.st_mode):
        raise corrupt("is not a plain file", str(path), "plain files")
    if status.st_size != facts.size:
        raise corrupt("has another size", f"{path}: {status.st_size} bytes", f"{facts.size} bytes")
    if digests and (found := hash_file(path)) != facts.sha256:
        raise corrupt("has other content", f"{path}: SHA-256 {found}", f"SHA-256 {facts.sha256}")


def check_inside(folder: Path, name: str) -> Path:
    """The path of a name in the folder, after checking that neither the name nor a link leads out of it.

    Raises:
        CorruptArtefactError: One does. A snapshot's links into the blobs of its own repo in a hub's cache do not.
    """
    parts = name.split("/")
    windows = PureWindowsPath(name)
    if windows.drive or "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise corrupt("has a name that is not allowed", repr(name), "relative names that stay inside the folder")
    path = folder / name
    root, target = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    if target.is_relative_to(root):
        return path
    blobs = _blob_folder(root) or _blob_folder(Path(os.path.abspath(folder)))  # a snapshot may be a link itself
    if blobs is None or target.parent != blobs:
        raise corrupt("is a link that leaves the folder", f"{path} -> {target}", f"files inside {root}")
    return path


def _blob_folder(root: Path) -> Path | None:
    """The blob folder of the hub cache's repo that a snapshot belongs to; ``None`` for any other folder."""
    for snapshots in root.parents:
        if snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--"):
            return Path(os.path.realpath(snapshots.parent / "blobs"))  # blobs may stand on another disk
    return None


def corrupt(what: str, got: str, allowed: str) -> CorruptArtefactError:
    """The error of a file that is not as the manifest says."""
    do = "compile the model again, or copy the folder anew"
    return CorruptArtefactError(f"A file of the artefact {what}.", got=got, allowed=allowed, do=do)


def listed_only(folder: Path, envelope: Envelope) -> None:
    """Refuses a folder with files that its manifest does not list.

    Raises:
        CacheError: There are such files.
    """
    extra = [name for name, _ in files_below(folder) if name != MANIFEST and name not in envelope.files]
    if extra:
        raise CacheError(
            "The folder holds files that its manifest does not list.",
            got=f"{folder}: {', '.join(extra[:5])}",
            allowed="the manifest and the files that it lists",
            do="move them elsewhere",
        )
