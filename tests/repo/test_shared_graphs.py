"""Tests that need the same graph share an export, and no test sees what another one did to its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from QEfficient.cache import Cache, write_envelope
from QEfficient.errors import CacheError
from tests.shared_graphs import SharedGraphs

KEY = {"model": "m", "opset": 18}
Build = Callable[[Path], None]


class Exporter:
    """Writes an entry, and counts how often it was asked to."""

    def __init__(self, stage: str = "onnx") -> None:
        self.stage, self.count = stage, 0

    def __call__(self, folder: Path) -> None:
        self.count += 1
        (folder / "graph").write_text("right")
        write_envelope(folder, stage=self.stage, key=KEY, versions={}, body={})


@pytest.fixture
def shared(tmp_path: Path) -> SharedGraphs:
    return SharedGraphs(tmp_path / "pool")


def export(shared: SharedGraphs, home: Path, build: Build, stage: str = "onnx") -> tuple[Path, bool]:
    with shared.in_use():
        return Cache(home).get_or_build("model", stage, KEY, build)


def test_a_second_cold_cache_gets_a_copy(shared: SharedGraphs, tmp_path: Path) -> None:
    build = Exporter()
    first, second = (export(shared, tmp_path / name, build) for name in ("a", "b"))
    assert (build.count, shared.given) == (1, 1)
    assert first[1] is second[1] is False, "for the cache it is a miss, as ever"
    (first[0] / "graph").write_text("wrong")
    assert (second[0] / "graph").read_text() == "right"
    shared.check()
    assert export(shared, tmp_path / "c", build)[0].joinpath("graph").read_text() == "right"


def test_a_pool_that_was_changed_fails_the_run(shared: SharedGraphs, tmp_path: Path) -> None:
    export(shared, tmp_path / "a", Exporter())
    (entry,) = shared.pool.entries()
    (entry.path / "graph").write_text("wrong")
    with pytest.raises(AssertionError, match="other content"):
        shared.check()


def test_nothing_is_shared_while_something_is_patched(shared: SharedGraphs, tmp_path: Path) -> None:
    build = Exporter()
    with shared.in_use():
        with pytest.MonkeyPatch.context() as outer:
            outer.setattr(Exporter, "planted", True, raising=False)
            with pytest.MonkeyPatch.context() as inner:
                inner.setitem({}, "any", 1)
            Cache(tmp_path / "a").get_or_build("model", "onnx", KEY, build)
            assert not shared.open
        assert shared.open and not shared.pool.entries()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("A_VARIABLE", "is no code")
            Cache(tmp_path / "b").get_or_build("model", "onnx", KEY, build)
        assert build.count == 2 and len(shared.pool.entries()) == 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Exporter, "planted", True, raising=False)
            Cache(tmp_path / "c").get_or_build("model", "onnx", KEY, build)
    assert build.count == 3 and shared.given == 0


@pytest.mark.own_exports
def test_a_marked_test_exports_for_itself(shared: SharedGraphs, tmp_path: Path) -> None:
    build = Exporter()
    for name in ("a", "b"):
        export(shared, tmp_path / name, build)
    assert build.count == 2 and not shared.pool.entries()


def test_other_stages_and_failures_are_not_shared(shared: SharedGraphs, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise CacheError("It failed.", do="wait")

    with pytest.raises(CacheError):
        export(shared, tmp_path / "a", fail)
    assert not shared.pool.entries()
    build = Exporter("program")
    for name in ("a", "b"):
        export(shared, tmp_path / name, build, "program")
    assert build.count == 2 and not shared.pool.entries()


def test_the_run_has_a_pool(shared_graphs: SharedGraphs) -> None:
    """This run's own: its patches are those that stay, so it is open to plain tests."""
    assert shared_graphs.open
