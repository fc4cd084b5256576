"""Save, load and check a program's folder. Loading runs no code from it and reads nothing outside of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path, PurePosixPath

from QEfficient.cache import (
    MANIFEST,
    Envelope,
    check_files,
    check_seal,
    from_json,
    library_versions,
    link_or_copy,
    read_envelope,
    to_json,
    work_folder,
    write_envelope,
)
from QEfficient.cache.codec import bad_manifest
from QEfficient.cache.disk import disk_errors
from QEfficient.cache.envelope import corrupt, listed_only
from QEfficient.cache.files import hash_file, swap, sweep, sync_tree
from QEfficient.errors import ArtefactError, CacheError, ManifestError
from QEfficient.records import FileFacts, GraphFacts, Json, Manifest, OnnxModel, Program, TensorSpec

PROGRAM, ONNX = "program", "onnx"
_OF_ENVELOPE = ("key", "versions", "files", "created")
"""The fields of a ``Manifest`` that the envelope holds. The others are a program's body."""


@dataclass(frozen=True, slots=True)
class _OnnxBody:
    """An ``OnnxModel`` with a file name in place of its path."""

    onnx: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    functions: bool


def write(program: Program, graphs: Mapping[str, OnnxModel] | None = None) -> Program:
    """Seals a program's folder: digests every file in it and writes its manifest last.

    Args:
        program: Its folder holds all its files. ``files`` and ``created`` of its manifest are set here, and
            ``versions`` when they are empty.
        graphs: What it was compiled from, by name. A file that is linked from there has the digest that it has there.

    Returns:
        The program with the manifest as it was written.

    Raises:
        ManifestError: The manifest contradicts itself or the folder.
        CacheError: The disk is full or can't be written.
    """
    manifest = program.manifest
    versions = dict(manifest.versions) or library_versions()
    body = {f.name: getattr(manifest, f.name) for f in fields(Manifest) if f.name not in _OF_ENVELOPE}
    known: dict[str, str] = {}
    for name, graph in (graphs or {}).items():
        known |= _linked(graph, program.path, PurePosixPath(manifest.graphs[name].onnx).parent)
    envelope = write_envelope(program.path, stage=PROGRAM, key=manifest.key, versions=versions, body=body, known=known)
    return Program(program.path, _manifest(envelope))


def _linked(graph: OnnxModel, folder: Path, inside: PurePosixPath) -> dict[str, str]:
    """The known digests of a graph's files that the folder holds too, ``inside`` it: the same files, not copies."""
    pairs = {name: (graph.path.parent / name, folder / inside / name) for name in graph.files}
    return {
        str(inside / name): graph.files[name]
        for name, (there, here) in pairs.items()
        if there.is_file() and here.is_file() and here.samefile(there)
    }


def graphs_of(program: Program) -> dict[str, OnnxModel]:
    """A program's graphs by name, as they can be compiled again for another backend."""
    found = {}
    for name, facts in program.manifest.graphs.items():
        path, inside = program.path / facts.onnx, PurePosixPath(facts.onnx).parent
        files = {PurePosixPath(file): known.sha256 for file, known in program.manifest.files.items()}
        own = {str(file.relative_to(inside)): sha for file, sha in files.items() if file.is_relative_to(inside)}
        found[name] = OnnxModel(path, facts.inputs, facts.outputs, digest="", files=own)
    return found


def load(folder: str | Path, *, check: bool = False) -> Program:
    """Loads a program from its folder, which may have been moved or copied.

    Args:
        folder: The program's folder, possibly a snapshot of a hub cache.
        check: Also read every file and compare its SHA-256. Sizes are always checked.

    Raises:
        ManifestError: The manifest is missing, malformed or was edited; the field is named.
        StaleProgramError: It has another format.
        CorruptArtefactError: A file is missing, short, altered or outside the folder.
    """
    folder = Path(folder).absolute()
    envelope = _read(folder, PROGRAM)
    manifest = _manifest(envelope)
    check_seal(envelope, folder)
    check_files(folder, envelope, digests=check)
    return Program(folder, manifest)


def write_onnx(model: OnnxModel, *, key: Mapping[str, Json], versions: Mapping[str, str]) -> None:
    """Seals the folder of an exported graph.

    Args:
        model: The graph; its folder holds its external data and nothing else.
        key: Every ingredient of the cache key.
        versions: Package → version.

    Raises:
        CacheError: The disk is full or can't be written.
    """
    body = _OnnxBody(model.path.name, model.inputs, model.outputs, model.digest, model.functions)
    folder = model.path.parent
    write_envelope(folder, stage=ONNX, key=key, versions=versions, body=to_json(body), known=model.files)


def load_onnx(folder: str | Path, *, check: bool = False) -> OnnxModel:
    """Loads what :func:`write_onnx` sealed. Arguments and errors are those of :func:`load`."""
    folder = Path(folder).absolute()
    envelope = _read(folder, ONNX)
    body = from_json(_OnnxBody, envelope.body, "body")
    _listed("body.onnx", body.onnx, envelope.files)
    check_seal(envelope, folder)
    check_files(folder, envelope, digests=check)
    files = {name: facts.sha256 for name, facts in envelope.files.items()}
    return OnnxModel(folder / body.onnx, body.inputs, body.outputs, body.digest, body.functions, files)


def save(program: Program, dest: str | Path) -> Program:
    """Copies a program to another folder. See :func:`copy_folder`; returns the program at ``dest``."""
    _read(program.path, PROGRAM)
    return load(copy_folder(program.path, dest))


def copy_folder(source: Path, dest: str | Path) -> Path:
    """Copies an artefact, comparing every file's digest on the way.

    The copy is made aside and renamed into place last. An artefact of the same stage that is at ``dest`` already is
    replaced; between its renaming and that of the new one there is an instant without either.

    Args:
        source: The folder of a program or an exported graph.
        dest: A folder that does not exist, is empty, or holds such an artefact and nothing else.

    Returns:
        ``dest``, absolute.

    Raises:
        CacheError: Something else is at ``dest``, the disk is full or can't be written.
        CorruptArtefactError: A file of ``source`` is missing or altered.
    """
    dest = Path(dest).absolute()
    envelope = read_envelope(source)
    check_files(source, envelope)
    prefix = f".{dest.name}.saving-"
    sweep(dest.parent, prefix)  # what a killed save left
    if _is_same(dest, envelope):
        return dest
    _refuse_dest(dest, Path(os.path.realpath(source)), envelope.stage)
    needed = sum(facts.size for facts in envelope.files.values())
    refused = partial(disk_errors, "The artefact can't be saved.", dest, needed=needed)
    with refused():
        dest.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(dest.parent, prefix) as work, refused():
        _copy_artefact(source, envelope, work / "new")
        swap(work / "new", dest, work / "old")
    return dest


def copy_as(program: Program, folder: Path, key: Mapping[str, Json]) -> Program:
    """The same program under another key: it stands for more than it did.

    Args:
        program: In the cache.
        folder: An empty folder for it.
        key: Every ingredient of the new key.
    """
    files = program.manifest.files
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(program.path / name, folder / name)
    known = {name: facts.sha256 for name, facts in files.items() if (folder / name).samefile(program.path / name)}
    body = {f.name: getattr(program.manifest, f.name) for f in fields(Manifest) if f.name not in _OF_ENVELOPE}
    versions = program.manifest.versions
    return Program(
        folder,
        _manifest(write_envelope(folder, stage=PROGRAM, key=key, versions=versions, body=body, known=known)),
    )


def _read(folder: Path, stage: str) -> Envelope:
    envelope = read_envelope(folder, sealed=False)
    if envelope.stage != stage:
        raise ManifestError(
            "The folder holds another kind of artefact.",
            got=f"{folder}: stage {envelope.stage!r}",
            allowed=f"stage {stage!r}",
            do="give the folder that compile or save_pretrained made",
        )
    return envelope


def _manifest(envelope: Envelope) -> Manifest:
    manifest = from_json(
        Manifest, envelope.body, "body", given={name: getattr(envelope, name) for name in _OF_ENVELOPE}
    )
    _check_consistent(manifest)
    return manifest


def _check_consistent(manifest: Manifest) -> None:
    """What the types do not say: shapes make sense, and every file that is named is a file of the folder."""
    if not manifest.graphs:
        raise _inconsistent("body.graphs", "", "at least one graph")
    for name, graph in manifest.graphs.items():
        _check_graph(f"body.graphs.{name}", graph, manifest.files)
    if manifest.text is not None and manifest.text.tokenizer is not None:
        _listed("body.text.tokenizer", manifest.text.tokenizer, manifest.files)
    if manifest.model is not None and manifest.model.config is not None:
        _listed("body.model.config", manifest.model.config, manifest.files)


def _check_graph(where: str, graph: GraphFacts, files: Mapping[str, FileFacts]) -> None:
    shapes = graph.shapes
    if not shapes or list(shapes) != sorted(set(shapes)) or min(min(shape.sizes.values()) for shape in shapes) < 1:
        raise _inconsistent(f"{where}.shapes", list(map(str, shapes)), "at least one, ascending, sizes from 1 up")
    _listed(f"{where}.onnx", graph.onnx, files)
    for kind, name in (("joined", graph.joined), ("paged", graph.paged)):
        if name is not None:
            _listed(f"{where}.{kind}", name, files)
    if graph.binary is not None and not any(name.startswith(f"{graph.binary}/") for name in files):
        raise _inconsistent(f"{where}.binary", graph.binary, "a folder with files that the manifest lists")


def _listed(where: str, name: str, files: Mapping[str, FileFacts]) -> None:
    if name not in files:
        raise _inconsistent(where, name, f"one of the files: {', '.join(files)}")


def _inconsistent(where: str, value: Json, allowed: str) -> ManifestError:
    return bad_manifest("contradicts itself", f"{where} = {value!r}", allowed)


def _is_same(dest: Path, envelope: Envelope) -> bool:
    """Whether the same program, undamaged, is at ``dest`` already: then nothing is to be done."""
    try:
        found = read_envelope(dest)
        if found.seal != envelope.seal:
            return False
        check_files(dest, found, digests=True)
    except ArtefactError:
        return False
    return True


def _refuse_dest(dest: Path, source: Path, stage: str) -> None:
    real = Path(os.path.realpath(dest))
    if real == source or real.is_relative_to(source) or source.is_relative_to(real):
        raise _bad_dest("lies inside the artefact's own folder, or around it", dest)
    if not os.path.lexists(dest):
        return
    if dest.is_symlink() or not dest.is_dir():
        raise _bad_dest("is not a folder", dest)
    with disk_errors("The folder to save to can't be read.", dest):
        if not any(dest.iterdir()):
            return
        try:
            listed_only(dest, _read(dest, stage))
        except ArtefactError as error:
            raise _bad_dest(f"holds something else ({error.what} {error.got or ''})", dest) from error


def _bad_dest(what: str, dest: Path) -> CacheError:
    return CacheError(
        f"The folder to save to {what}.",
        got=str(dest),
        allowed="a folder that does not exist, is empty, or holds such an artefact and nothing else",
        do="choose another folder, or empty this one",
    )


def _copy_artefact(source: Path, envelope: Envelope, dest: Path) -> None:
    dest.mkdir()
    for name, facts in envelope.files.items():
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        found = _copy_file(source / name, dest / name)
        if found != facts:
            got = f"{source / name}: {found.size} bytes, SHA-256 {found.sha256}"
            raise corrupt("was changed after it was made", got, f"{facts.size} bytes, SHA-256 {facts.sha256}")
    _copy_file(source / MANIFEST, dest / MANIFEST)
    sync_tree(dest)


def _copy_file(source: Path, dest: Path) -> FileFacts:
    """Copies and flushes a file; returns the facts of what was written."""
    shutil.copyfile(source, dest)
    return FileFacts(dest.stat().st_size, hash_file(dest, sync=True))
