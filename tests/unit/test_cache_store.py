import errno
import functools
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from QEfficient.cache import Cache, Difference, safe_name, total_bytes, write_envelope
from QEfficient.errors import CacheError
from tests.cache_builds import KEY, NAME, STAGE, assert_right, build, build_once, leftovers

pytestmark = pytest.mark.own_exports  # what the cache does itself is looked at


def never(folder: Path) -> None:
    raise AssertionError("it was built again")


def keyed(**changes: object) -> dict[str, object]:
    return {**KEY, **changes}


def add(cache: Cache, name: str = NAME, **changes: object) -> Path:
    key = keyed(**changes)
    return cache.get_or_build(name, STAGE, key, functools.partial(build, key=key))[0]


# ---------------------------------------------------------------------------------------------- hits and misses


def test_a_miss_builds_and_an_identical_rerun_hits() -> None:
    cache = Cache()
    assert cache.lookup(NAME, STAGE, KEY) is None
    path, hit = cache.get_or_build(NAME, STAGE, KEY, build)
    assert not hit
    assert path == cache.home / "org--tiny" / path.name
    assert_right(path)
    assert Cache().get_or_build(NAME, STAGE, dict(reversed(KEY.items())), never) == (path, True)
    assert Cache().lookup(NAME, STAGE, KEY) == path
    assert leftovers(cache.home) == []


def test_a_hit_writes_nothing_and_takes_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    path = add(Cache())

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    for name in ("mkdir", "rename", "replace", "link", "unlink", "utime"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setitem(sys.modules, "filelock", None)  # importing it would raise
    assert Cache().get_or_build(NAME, STAGE, KEY, never) == (path, True)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {"model.safetensors": "ac" * 32}},
        {"weights": {"model-2.safetensors": "ab" * 32}},
        {"pooling": ["max"]},
        {"pooling": ["mean", "max"]},
        {"opset": 17},
        {"opset": 18.0},
        {"opset": "18"},
        {"opset": None},
        {"new": None},
    ],
    ids=str,
)
def test_each_ingredient_makes_another_key(change: dict[str, object]) -> None:
    cache = Cache()
    assert add(cache) != add(cache, **change)


def damage_size(path: Path) -> None:
    (path / "part-1.bin").write_bytes(b"short")


def damage_missing(path: Path) -> None:
    (path / "part-1.bin").unlink()


def damage_manifest(path: Path) -> None:
    text = (path / "qefficient.json").read_text()
    (path / "qefficient.json").write_text(text.replace('"opset": 18', '"opset": 17'))


def damage_no_manifest(path: Path) -> None:
    (path / "qefficient.json").unlink()


@pytest.mark.parametrize("damage", [damage_size, damage_missing, damage_manifest, damage_no_manifest])
def test_a_damaged_entry_is_a_miss_and_is_built_again(
    damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache()
    damage(add(cache))
    assert cache.lookup(NAME, STAGE, KEY) is None
    assert "can't be used" in caplog.text
    path, hit = cache.get_or_build(NAME, STAGE, KEY, build)
    assert not hit
    assert_right(path)
    assert leftovers(cache.home) == []


def test_an_entry_of_another_key_in_the_folder_is_a_miss() -> None:
    cache = Cache()
    other, mine = add(cache, opset=17), add(cache)
    for file in mine.rglob("*"):
        if file.is_file():
            file.write_bytes((other / file.relative_to(mine)).read_bytes())
    assert cache.lookup(NAME, STAGE, KEY) is None


def test_a_build_that_seals_another_key_or_leaves_unlisted_files_is_refused() -> None:
    cache = Cache()
    with pytest.raises(Exception, match="opset"):
        cache.get_or_build(NAME, STAGE, KEY, functools.partial(build, key=keyed(opset=17)))

    def late(folder: Path) -> None:
        build(folder)
        (folder / "late.bin").write_bytes(b"1")

    with pytest.raises(CacheError, match="late.bin"):
        cache.get_or_build(NAME, STAGE, KEY, late)
    assert not cache.entries() and leftovers(cache.home) == []


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EACCES, "y"), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_of_the_build_passes_unchanged_and_leaves_nothing(error: BaseException) -> None:
    def fail(folder: Path) -> None:
        (folder / "part.bin").write_bytes(b"half")
        raise error

    cache = Cache()
    with pytest.raises(type(error)) as caught:
        cache.get_or_build(NAME, STAGE, KEY, fail)
    assert caught.value is error
    assert not cache.entries() and leftovers(cache.home) == []
    assert not cache.get_or_build(NAME, STAGE, KEY, build)[1]


def test_a_build_may_use_the_cache_itself() -> None:
    cache = Cache()

    def outer(folder: Path) -> None:
        assert add(Cache(), opset=1)
        with Cache().work_folder() as scratch:
            (scratch / "a").write_bytes(b"a")
        build(folder)

    path, _ = cache.get_or_build(NAME, STAGE, KEY, outer)
    assert_right(path)
    assert len(cache.entries()) == 2 and leftovers(cache.home) == []


# ---------------------------------------------------------------------------------------------- many at once


def test_eight_processes_build_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        results = pool.map(build_once, [tmp_path / "count"] * 8, chunksize=1)
        pool.close()
        pool.join()
    assert (tmp_path / "count").read_bytes() == b"x"
    assert len({(path, content) for path, _, content in results}) == 1
    assert sorted(hit for _, hit, _ in results) == [False] + [True] * 7
    assert leftovers(Cache().home) == []


def test_eight_threads_build_once(tmp_path: Path) -> None:
    results: list[tuple[str, bool, bytes]] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        results.append(build_once(tmp_path / "count"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "count").read_bytes() == b"x"
    assert len(results) == 8 and sum(not hit for _, hit, _ in results) == 1


FORK = """
import os, sys, threading, time
from pathlib import Path
from QEfficient.cache import Cache
from tests.cache_builds import KEY, NAME, STAGE, build
cache, building, forked = Cache(), threading.Event(), threading.Event()

def slow(folder):
    building.set()
    forked.wait(20)
    time.sleep(0.2)
    build(folder)

thread = threading.Thread(target=lambda: cache.get_or_build(NAME, STAGE, KEY, slow))
thread.start()
building.wait(20)
child = os.fork()  # while another thread holds the lock
if child == 0:
    path, hit = cache.get_or_build(NAME, STAGE, KEY, build)
    os._exit(10 if hit else 11)
forked.set()
thread.join()
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_waits_for_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == 10
    assert leftovers(Cache().home) == []


def test_a_forked_child_that_leaves_the_build_does_not_clean_up_for_its_parent() -> None:
    cache = Cache()
    with cache.work_folder() as folder:
        script = f"""
import os, sys
from QEfficient.cache import Cache
try:
    with Cache().work_folder() as folder:
        if os.fork() == 0:
            raise KeyboardInterrupt
        os.wait()
        assert folder.is_dir()
except KeyboardInterrupt:
    os._exit(0)
assert not folder.exists()
assert os.path.isdir({str(folder)!r})
"""
        subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], timeout=60, check=True)
    assert leftovers(cache.home) == []


# ---------------------------------------------------------------------------------------------- sweeping


def test_sweep_takes_what_is_dead_and_spares_what_is_alive() -> None:
    cache = Cache()
    add(cache)
    dead = cache.home / "tmp" / "dead"
    dead.mkdir()
    (dead / "part.bin").write_bytes(b"1")
    dead.with_name("dead.lock").touch()
    with cache.work_folder() as alive:
        assert cache.sweep() == 1
        assert alive.is_dir() and not dead.exists()
        dead.with_name("dead.lock").touch()
        cache.get_or_build(NAME, STAGE, KEY, never)  # a hit sweeps as well
        assert sorted(leftovers(cache.home)) == sorted([alive.name, f"{alive.name}.lock"])
    assert leftovers(cache.home) == []


# ---------------------------------------------------------------------------------------------- disks


def failing(code: int) -> Callable[..., None]:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["mkdir", "rename", "replace", "fsync"])
def test_a_disk_that_fails_is_a_cache_error_and_leaves_nothing(
    call: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(code))
        with pytest.raises(CacheError) as caught:
            cache.get_or_build(NAME, STAGE, KEY, build)
    error = caught.value
    assert os.strerror(code) in str(error.got) and error.allowed and error.do
    assert not cache.entries() and leftovers(cache.home) == []
    assert not cache.get_or_build(NAME, STAGE, KEY, build)[1]


def test_a_disk_that_is_full_while_building_is_a_cache_error() -> None:
    def full(folder: Path) -> None:
        (folder / "part.bin").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = Cache()
    with pytest.raises(CacheError, match="disk is full") as caught:
        cache.get_or_build(NAME, STAGE, KEY, full)
    assert "QEFF_HOME" in str(caught.value)
    assert not cache.entries() and leftovers(cache.home) == []


def test_a_home_that_is_a_file_is_a_cache_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError):
        Cache(tmp_path / "file").get_or_build(NAME, STAGE, KEY, build)


# ---------------------------------------------------------------------------------------------- looking at it


def test_names_are_safe() -> None:
    assert safe_name("org/model") == "org--model"
    assert safe_name("/data/models/my model") == "data--models--my_model"
    for name in ("tmp", "locks", "digests", "..", ".", "", "/", "a" * 500, "../../etc", "ü/é"):
        safe = safe_name(name)
        assert safe not in ("tmp", "locks", "digests", "", ".", "..")
        assert "/" not in safe and len(safe) <= 81 and not safe.startswith(".")


def test_models_named_as_the_caches_own_folders_work() -> None:
    cache = Cache()
    for name in ("tmp", "locks", "digests"):
        add(cache, name)
    assert len(cache.entries()) == 3
    assert len(cache.entries("tmp")) == 1


def test_explain_names_the_ingredients_that_differ_from_the_nearest() -> None:
    cache = Cache()
    add(cache)
    add(cache, opset=17, pooling=["max"], weights={"a": "1"})
    latest = add(cache, opset=16)
    add(cache, name="other")
    (found,) = cache.explain()
    assert found.entry.path == latest
    assert found.differences == (Difference("opset", "18", "16"),)
    assert cache.explain("other") == () and cache.explain("org/tiny") == (found,)
    assert cache.explain(stage="program") == ()


def test_explain_names_nested_and_missing_ingredients() -> None:
    cache = Cache()
    add(cache, weights={"a.bin": "1", "b.bin": "2"})
    add(cache, weights={"a.bin": "1", "c.bin": None})
    (found,) = cache.explain()
    assert found.differences == (Difference("weights.b.bin", '"2"', None), Difference("weights.c.bin", None, "null"))


def test_verify_finds_a_flipped_bit() -> None:
    cache = Cache()
    good, bad = add(cache), add(cache, opset=17)
    content = bytearray((bad / "part-2.bin").read_bytes())
    content[100] ^= 1
    (bad / "part-2.bin").write_bytes(content)
    problems = {entry.path: problem for entry, problem in cache.verify()}
    assert problems[good] is None
    assert "part-2.bin" in (problems[bad] or "")


def test_entries_lists_damaged_ones_with_the_problem() -> None:
    cache = Cache()
    damage_no_manifest(add(cache))
    (entry,) = cache.entries()
    assert entry.envelope is None and "no manifest" in (entry.problem or "")


def test_prune_by_model_age_and_size() -> None:
    cache = Cache()
    first, second, third = add(cache), add(cache, opset=17), add(cache, name="other")
    one = total_bytes(cache.entries("other"))
    assert cache.prune("other", dry_run=True)[0].path == third and third.exists()
    now = datetime.now(UTC)
    assert cache.prune(before=now - timedelta(hours=1)) == ()
    assert [e.path for e in cache.prune(max_bytes=2 * one + 100)] == [first]
    assert not first.exists() and second.exists()
    assert [e.path for e in cache.prune("org/tiny", max_bytes=0)] == [second]
    assert [e.path for e in cache.prune(before=now + timedelta(hours=1))] == [third]
    assert cache.entries() == () and leftovers(cache.home) == []


def test_a_linked_file_counts_once() -> None:
    cache = Cache()
    path = add(cache)

    def linked(folder: Path) -> None:
        os.link(path / "part-1.bin", folder / "part-1.bin")
        write_envelope(folder, stage="program", key=KEY, versions={}, body={})

    cache.get_or_build(NAME, "program", KEY, linked)
    onnx, program = cache.entries()
    assert total_bytes([onnx, program]) < total_bytes([onnx]) + total_bytes([program])


def test_a_waiting_process_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "QEfficient")
    cache, building, go = Cache(), threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        building.set()
        go.wait(20)
        build(folder)

    first = threading.Thread(target=lambda: cache.get_or_build(NAME, STAGE, KEY, slow))
    first.start()
    building.wait(20)
    second = threading.Thread(target=lambda: cache.get_or_build(NAME, STAGE, KEY, never))
    second.start()
    threading.Timer(0.2, go.set).start()
    first.join()
    second.join()
    assert "waiting for another process" in caplog.text
