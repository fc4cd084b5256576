import errno
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient import settings
from QEfficient.cache import canonical_json, content_key, digests, file_digest, library_versions, link_or_copy
from QEfficient.errors import CacheError, UsageError
from QEfficient.records import CompileOptions, Shape

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))

pytestmark = pytest.mark.own_exports  # what the cache does itself is looked at


# ---------------------------------------------------------------------------------------------- canonical JSON


@given(VALUES)
def test_canonical_json_keeps_every_value(value: object) -> None:
    text = canonical_json(value)
    assert text.isascii()
    assert repr(sort_all(json.loads(text))) == repr(sort_all(value))


def sort_all(value: object) -> object:
    if isinstance(value, dict):
        return {key: sort_all(value[key]) for key in sorted(value)}
    return [sort_all(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(), VALUES))
def test_the_order_of_a_mapping_does_not_matter(value: dict[str, object]) -> None:
    turned = MappingProxyType(dict(reversed(value.items())))
    assert content_key(value) == content_key(turned)


def test_values_that_python_takes_for_equal_have_different_keys() -> None:
    values: list[object] = [1, 1.0, True, "1", [1], None, "null", [], {}, ""]
    assert len({content_key({"a": value}) for value in values}) == len(values)
    assert content_key({}) != content_key({"a": None})


def test_records_tuples_and_enums_are_taken() -> None:
    class Mode(StrEnum):
        MEAN = "mean"

    assert canonical_json({"b": (Shape(32), Mode.MEAN)}) == ('{"b":[{"sizes":{"batch_size":1,"seq_len":32}},"mean"]}')
    assert len(content_key({})) == 24


@pytest.mark.parametrize(
    "value",
    [math.nan, -math.inf, {1: 2}, {"a": {None: 1}}, Path("x"), b"x", {1, 2}, object(), [1j]],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_exact_json_is_refused(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        content_key({"here": value})
    assert "value.here" in caught.value.what and caught.value.allowed and caught.value.do


def test_a_path_among_options_is_refused_in_a_key() -> None:
    with pytest.raises(UsageError, match="digest"):
        content_key({"options": CompileOptions(files={"f": Path("x")})})


# ---------------------------------------------------------------------------------------------- digests


def settled(path: Path, content: bytes) -> Path:
    """A file that was changed long enough ago to be remembered, as far as its stat tells."""
    path.write_bytes(content)
    return path


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as settled; the stamps of these tests then differ by nanoseconds only."""
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**12))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    calls: list[Path] = []
    real = digests.hash_file

    def count(path: Path) -> str:
        calls.append(path)
        return real(path)

    monkeypatch.setattr(digests, "hash_file", count)
    return calls


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_digest_is_sha256_and_is_remembered(tmp_path: Path, old_files: None, hashed: list[Path]) -> None:
    path = settled(tmp_path / "a", b"abc")
    assert [file_digest(path), file_digest(str(path))] == [ABC, ABC]
    assert len(hashed) == 1


def test_a_link_shares_what_is_remembered(tmp_path: Path, old_files: None, hashed: list[Path]) -> None:
    (tmp_path / "link").symlink_to(settled(tmp_path / "a", b"abc"))
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "link")
    assert len(hashed) == 1


def test_a_change_of_content_with_size_and_mtime_kept_is_seen(tmp_path: Path, old_files: None) -> None:
    path = settled(tmp_path / "a", b"abc")
    before, status = file_digest(path), path.stat()
    time.sleep(0.02)  # one tick of the file system's clock
    path.write_bytes(b"abd")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert file_digest(path) != before


def test_a_file_put_in_place_of_another_is_seen(tmp_path: Path, old_files: None) -> None:
    path = settled(tmp_path / "a", b"abc")
    before, status = file_digest(path), path.stat()
    other = settled(tmp_path / "b", b"abd")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, path)
    assert file_digest(path) != before


def test_a_file_that_was_just_changed_is_not_remembered(tmp_path: Path, hashed: list[Path]) -> None:
    path = settled(tmp_path / "a", b"abc")
    assert file_digest(path) == file_digest(path) == ABC
    assert len(hashed) == 2
    assert not (settings.home() / "digests").exists()


def test_a_second_change_within_one_tick_of_the_clock_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settled(tmp_path / "a", b"abc")
    before, facts = file_digest(path), digests._facts(path.stat(), str(path))
    monkeypatch.setattr(digests, "_facts", lambda *_: facts)  # a clock that stands still
    path.write_bytes(b"abd")
    assert file_digest(path) != before


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settled(tmp_path / "a", b"old")
    real, changes = digests.hash_file, iter([b"abc"])

    def changing(target: Path) -> str:
        digest = real(target)
        for content in changes:
            time.sleep(0.02)
            path.write_bytes(content)
            break
        return digest

    monkeypatch.setattr(digests, "hash_file", changing)
    assert file_digest(path) == ABC


def test_a_file_that_never_stands_still_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = settled(tmp_path / "a", b"old"), digests.hash_file

    def growing(target: Path) -> str:
        with path.open("ab") as file:
            file.write(b"x")
        return real(target)

    monkeypatch.setattr(digests, "hash_file", growing)
    with pytest.raises(CacheError, match="changes while it is read"):
        file_digest(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"facts": 1}', b'{"facts": {}, "sha256": 5}', b"\xff\x00"])
def test_a_spoilt_memory_is_ignored(content: bytes, tmp_path: Path, old_files: None, hashed: list[Path]) -> None:
    path = settled(tmp_path / "a", b"abc")
    file_digest(path)
    (memory,) = (settings.home() / "digests").iterdir()
    memory.write_bytes(content)
    assert file_digest(path) == ABC
    assert len(hashed) == 2


def test_a_memory_that_cannot_be_written_does_not_matter(
    tmp_path: Path, old_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "replace", refuse)
    assert file_digest(settled(tmp_path / "a", b"abc")) == ABC
    assert not any((settings.home() / "digests").iterdir())


def test_what_is_no_file_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "pipe"):
        with pytest.raises(CacheError) as caught:
            file_digest(path)
        assert str(path) in str(caught.value)


def test_many_processes_share_the_memory(tmp_path: Path) -> None:
    paths = [settled(tmp_path / str(i), bytes([i]) * 1000) for i in range(20)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(file_digest, paths * 8, chunksize=1)
        pool.close()
        pool.join()
    assert found == [file_digest(path) for path in paths] * 8


def test_what_is_remembered_of_missing_files_is_dropped(tmp_path: Path, old_files: None) -> None:
    gone, kept = settled(tmp_path / "gone", b"1"), settled(tmp_path / "kept", b"2")
    file_digest(gone)
    file_digest(kept)
    gone.unlink()
    memory = settings.home() / "digests"
    (record,) = (file for file in memory.iterdir() if json.loads(file.read_text())["path"] == str(kept))
    (memory / f"{record.name}.0.tmp").write_bytes(record.read_bytes())  # as SIGKILL before the rename leaves it
    digests.forget_missing()
    assert list(memory.iterdir()) == [record]


# ---------------------------------------------------------------------------------------------- versions


def test_versions_are_those_of_the_installed_packages() -> None:
    versions = library_versions()
    assert list(versions) == ["QEfficient", *digests.PACKAGES]
    assert versions["numpy"] == metadata.version("numpy")


def test_versions_import_none_of_the_packages() -> None:
    script = (
        "import sys; from QEfficient.cache import library_versions; library_versions(); "
        "print([m for m in ('torch', 'transformers', 'onnx', 'onnx_ir', 'numpy', 'filelock') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_package_that_is_not_there_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert library_versions()["onnx"] == "absent"


def test_a_checkout_is_known_by_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    before = digests._source_digest(tmp_path)
    (tmp_path / "a.py").write_text("x = 2")
    changed = digests._source_digest(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({before, changed, digests._source_digest(tmp_path)}) == 3
    assert "+source." in digests.own_version()  # the tests run from a checkout


# ---------------------------------------------------------------------------------------------- links


def test_files_of_the_cache_are_linked_and_others_are_copied(tmp_path: Path) -> None:
    inside, outside = settings.home() / "entry" / "a", tmp_path / "a"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"1")
    outside.write_bytes(b"2")
    (tmp_path / "link").symlink_to(inside)
    for index, source in enumerate((inside, tmp_path / "link", outside)):
        link_or_copy(source, tmp_path / f"dst-{index}")
        assert (tmp_path / f"dst-{index}").read_bytes() == source.read_bytes()
    same = [(tmp_path / f"dst-{index}").stat().st_ino for index in range(3)]
    assert same[0] == same[1] == inside.stat().st_ino
    assert same[2] != outside.stat().st_ino
    assert not (tmp_path / "dst-1").is_symlink()


def test_where_links_fail_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    source = settings.home() / "a"
    source.parent.mkdir()
    source.write_bytes(b"1")
    link_or_copy(source, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"1" and (tmp_path / "b").stat().st_ino != source.stat().st_ino


def test_a_copy_that_fails_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a").write_bytes(b"1")
    monkeypatch.setattr("QEfficient.cache.files.shutil.copyfileobj", full)
    with pytest.raises(CacheError, match="free space"):
        link_or_copy(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("inside", [True, False])
def test_an_existing_file_is_never_overwritten(inside: bool, tmp_path: Path) -> None:
    source = settings.home() / "a" if inside else tmp_path / "a"
    settings.home().mkdir()
    source.write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    with pytest.raises(CacheError, match="exists"):
        link_or_copy(source, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"2"
