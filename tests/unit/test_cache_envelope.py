import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from QEfficient.cache import FORMAT, MANIFEST, Envelope, check_files, read_envelope, write_envelope
from QEfficient.cache.envelope import _seal
from QEfficient.errors import CacheError, CorruptArtefactError, ManifestError, QEfficientError, StaleProgramError
from QEfficient.records import FileFacts

pytestmark = pytest.mark.own_exports  # what the cache does itself is looked at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "artefact"
    (path / "qpc").mkdir(parents=True)
    (path / "model.onnx").write_bytes(b"graph")
    (path / "qpc" / "programqpc.bin").write_bytes(b"binary")
    write_envelope(path, stage="onnx", key={"opset": 18}, versions={"QEfficient": "1"}, body={"b": (1, 2)})
    return path


def raises(kind: type[QEfficientError], folder: Path, check: bool = True) -> str:
    """The message; all four parts must be there."""
    with pytest.raises(kind) as caught:
        envelope = read_envelope(folder)
        if check:
            check_files(folder, envelope, digests=True)
    error = caught.value
    assert type(error) is kind and error.what and error.got and error.allowed and error.do
    return str(error)


def edit(folder: Path, change: Callable[[dict[str, object]], None], *, seal: bool = False) -> None:
    """Edits the manifest; with ``seal`` as somebody would who knows how the seal is made."""
    raw = json.loads((folder / MANIFEST).read_text())
    change(raw)
    if seal:
        files = {name: FileFacts(**facts) for name, facts in raw["files"].items()}
        raw["seal"] = _seal(Envelope(**{**raw, "files": files}))
    (folder / MANIFEST).write_text(json.dumps(raw))


def relist(folder: Path, name: str, content: bytes) -> None:
    def change(raw: dict[str, object]) -> None:
        raw["files"] = {name: {"size": len(content), "sha256": "0" * 64}}

    edit(folder, change, seal=True)


def test_what_is_written_is_read(folder: Path) -> None:
    envelope = read_envelope(folder)
    assert envelope.format == FORMAT and envelope.stage == "onnx" and envelope.key == {"opset": 18}
    assert envelope.body == {"b": [1, 2]} and list(envelope.files) == ["model.onnx", "qpc/programqpc.bin"]
    assert envelope.files["model.onnx"].size == 5
    check_files(folder, envelope, digests=True)
    again = write_envelope(folder, stage="onnx", key={"opset": 18}, versions={}, body={})
    assert again.files == envelope.files and again == read_envelope(folder)


def test_the_returned_envelope_is_the_one_that_is_read(folder: Path) -> None:
    written = write_envelope(folder, stage="onnx", key={"a": (1, {"b": 2.5})}, versions={}, body={"é": "\ud800"})
    assert read_envelope(folder) == written


def test_a_moved_folder_is_read(folder: Path) -> None:
    moved = folder.rename(folder.with_name("moved"))
    check_files(moved, read_envelope(moved), digests=True)


@pytest.mark.parametrize("name", ["format", "stage", "created", "key", "versions", "body", "files", "seal"])
def test_each_field_is_needed_and_typed(name: str, folder: Path) -> None:
    edit(folder, lambda raw: raw.update({name: 1.5}))
    assert name in raises(ManifestError, folder)
    edit(folder, lambda raw: raw.pop(name))
    assert name in raises(ManifestError, folder)


def test_an_unknown_field_is_named(folder: Path) -> None:
    edit(folder, lambda raw: raw["files"]["model.onnx"].update(mtime=3))  # type: ignore[index]
    assert "files.model.onnx.mtime" in raises(ManifestError, folder)


@pytest.mark.parametrize(
    "change", [{"key": {"opset": 17}}, {"stage": "program"}, {"body": {}}, {"created": "x"}], ids=str
)
def test_an_edit_that_keeps_the_types_breaks_the_seal(change: dict[str, object], folder: Path) -> None:
    edit(folder, lambda raw: raw.update(change))
    assert "changed after it was written" in raises(ManifestError, folder)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"format": NaN}', b"[" * 100_000, b'{"a": 1e999}'],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_json_object_is_a_manifest_error(data: bytes, folder: Path) -> None:
    (folder / MANIFEST).write_bytes(data)
    raises(ManifestError, folder)


def test_every_truncation_of_the_manifest_is_a_manifest_error(folder: Path) -> None:
    data = (folder / MANIFEST).read_bytes()
    for length in range(len(data) - 1):  # the last byte is the newline
        (folder / MANIFEST).write_bytes(data[:length])
        raises(ManifestError, folder)


def test_a_folder_without_manifest_is_named(tmp_path: Path) -> None:
    assert str(tmp_path) in raises(ManifestError, tmp_path)
    raises(ManifestError, tmp_path / "missing")


def test_another_format_names_both_and_the_line_that_recompiles(folder: Path) -> None:
    def change(raw: dict[str, object]) -> None:
        raw.update(format=FORMAT + 1, body={"model": {"name": "org/m"}}, news=[])

    edit(folder, change)
    text = raises(StaleProgramError, folder)
    assert f"format {FORMAT + 1}, made by QEfficient 1" in text and f"format {FORMAT}" in text
    assert 'QEFFAutoModel.from_pretrained("org/m").compile()' in text


def test_another_format_without_a_name_or_maker_is_still_readable(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"format": 9, "body": [], "versions": 3}')
    assert "format 9" in raises(StaleProgramError, folder)


@pytest.mark.parametrize("name", ["model.onnx", "qpc/programqpc.bin"])
def test_a_file_that_is_short_missing_or_a_folder_is_named(name: str, folder: Path) -> None:
    envelope, path = read_envelope(folder), folder / name
    content = path.read_bytes()
    for spoil in (lambda: path.write_bytes(content[:-1]), path.unlink, path.mkdir):
        spoil()
        with pytest.raises(CorruptArtefactError, match=name):
            check_files(folder, envelope)


def test_other_content_of_the_same_size_is_found_by_digest_only(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"Graph")
    check_files(folder, read_envelope(folder))
    assert "model.onnx" in raises(CorruptArtefactError, folder)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../secret",
        "qpc/../../secret",
        "..",
        ".",
        "",
        "a//b",
        "./model.onnx",
        "C:\\x",
        "C:x",
        "a\\b",
        "a\0b",
    ],
)
def test_names_that_leave_the_folder_are_refused(name: str, folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"12345")
    relist(folder, name, b"12345")
    assert "name that is not allowed" in raises(CorruptArtefactError, folder)


def test_links_that_leave_the_folder_are_refused(folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_bytes(b"graph")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(secret)
    assert "leaves the folder" in raises(CorruptArtefactError, folder)


def test_linked_subfolders_and_manifests_that_leave_the_folder_are_refused(folder: Path) -> None:
    (folder / "qpc").rename(folder.parent / "qpc")
    (folder / "qpc").symlink_to(folder.parent / "qpc")
    assert "leaves the folder" in raises(CorruptArtefactError, folder)
    (folder / MANIFEST).rename(folder.parent / MANIFEST)
    (folder / MANIFEST).symlink_to(folder.parent / MANIFEST)
    assert "leaves the folder" in raises(CorruptArtefactError, folder, check=False)


def test_a_link_inside_the_folder_and_a_link_to_the_folder_are_fine(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "other")
    (folder / "model.onnx").symlink_to("other")
    (folder.parent / "link").symlink_to(folder)
    for path in (folder, folder.parent / "link"):
        check_files(path, read_envelope(path), digests=True)


def snapshot(folder: Path, repo: Path) -> Path:
    """The folder as the hub's cache holds it: every file is a link to a blob."""
    blobs, snap = repo / "blobs", repo / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    for index, file in enumerate(sorted(f for f in folder.rglob("*") if f.is_file())):
        (blobs / str(index)).write_bytes(file.read_bytes())
        link = snap / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(index), link.parent))
    return snap


def test_a_snapshot_of_the_hub_cache_is_read(folder: Path, tmp_path: Path) -> None:
    snap = snapshot(folder, tmp_path / "hub" / "models--org--m")
    check_files(snap, read_envelope(snap), digests=True)


def test_a_snapshot_in_a_subfolder_of_its_repo_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    folder.rename(tmp_path / "whole" / "sub")
    snap = snapshot(tmp_path / "whole", tmp_path / "hub" / "models--org--m") / "sub"
    check_files(snap, read_envelope(snap), digests=True)


@pytest.mark.parametrize("target", ["models--org--other/blobs/1", "secret", "models--org--m/refs"])
def test_a_snapshot_that_links_elsewhere_is_refused(target: str, folder: Path, tmp_path: Path) -> None:
    snap = snapshot(folder, tmp_path / "hub" / "models--org--m")
    other = tmp_path / "hub" / target
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"graph")
    (snap / "model.onnx").unlink()
    (snap / "model.onnx").symlink_to(other)
    assert "leaves the folder" in raises(CorruptArtefactError, snap)


def test_a_folder_that_only_looks_like_a_snapshot_is_refused(folder: Path, tmp_path: Path) -> None:
    snap = snapshot(folder, tmp_path / "hub" / "not-a-repo")
    assert "leaves the folder" in raises(CorruptArtefactError, snap)


def test_links_and_pipes_are_not_sealed(folder: Path) -> None:
    for make in (lambda path: path.symlink_to("model.onnx"), lambda path: path.symlink_to("qpc"), os.mkfifo):
        make(folder / "odd")
        with pytest.raises(CacheError, match="odd"):
            write_envelope(folder, stage="onnx", key={}, versions={}, body={})
        (folder / "odd").unlink()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_manifest_that_cannot_be_written_leaves_none(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a").write_bytes(b"1")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(CacheError, match="QEFF_HOME"):
        write_envelope(tmp_path / "new", stage="onnx", key={}, versions={}, body={})
    assert os.listdir(tmp_path / "new") == ["a"]


def test_a_manifest_that_cannot_be_read_is_a_cache_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> bytes:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    raises(CacheError, folder)
