"""Large pages: whose memory is meant, and that nothing but its pages changes."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.backends import large_pages
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.records import Bucket, CompileOptions, Target
from tests import tiny_graphs

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
on_linux = pytest.mark.skipif(not SETTING.exists(), reason="large pages are used on Linux only")

ranges = st.sets(st.integers(0, 40), max_size=12).map(
    lambda ends: list(zip(*[iter(sorted(ends)[: len(ends) // 2 * 2])] * 2, strict=True))
)


def inside(parts: list[tuple[int, int]]) -> set[int]:
    return {place for start, end in parts for place in range(start, end)}


@given(before=ranges, after=ranges)
def test_what_was_added(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_pages, "_LEAST", 1)
        found = large_pages.added(before, after)
    assert inside(found) == inside(after) - inside(before)
    assert all(start < end for start, end in found) and sum(e - s for s, e in found) == len(inside(found))


def test_small_pieces_are_left_alone() -> None:
    least = large_pages._LEAST
    assert large_pages.added([(0, 8)], [(0, 7 + least), (3 * least, 4 * least)]) == [(3 * least, 4 * least)]


@on_linux
def test_memory_in_large_pages_keeps_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages, "_given", lambda: True)
    before = large_pages.memory()
    with mmap.mmap(-1, 8 * large_pages.SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        numbers = np.frombuffer(block, np.int64)
        numbers[:] = np.arange(len(numbers))
        own = large_pages.added(before, large_pages.memory())
        address = numbers.ctypes.data
        assert any(start <= address and address + numbers.nbytes <= end for start, end in own)
        done = large_pages.use([(address, address + numbers.nbytes)])
        assert done % large_pages.SIZE == 0 and 0 <= done <= numbers.nbytes
        assert np.array_equal(numbers, np.arange(len(numbers)))
        del numbers
    assert large_pages.use([(address, address + 8 * large_pages.SIZE)]) <= 8 * large_pages.SIZE  # no longer there
    assert large_pages.use([(0, 4 * large_pages.SIZE)]) == 0  # never was


@on_linux
def test_it_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages, "SECONDS", -1.0)
    with mmap.mmap(-1, 8 * large_pages.SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        numbers = np.frombuffer(block, np.int64)
        assert large_pages.use([(numbers.ctypes.data, numbers.ctypes.data + numbers.nbytes)]) == 0
        del numbers


def test_whoever_switched_them_off_gets_none(tmp_path: Path) -> None:
    given_by = large_pages._given.__wrapped__
    for told, expected in (("always [madvise] never", True), ("always madvise [never]", False)):
        (tmp_path / "enabled").write_text(told)
        assert given_by(tmp_path / "enabled") is expected
    assert given_by(tmp_path / "not Linux") is False


def test_a_session_settles_once_and_gives_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[large_pages.Range]] = []
    monkeypatch.setattr(large_pages, "use", lambda ranges: asked.append(list(ranges)) or 0)
    monkeypatch.setattr(large_pages, "_LEAST", 1)
    model = tiny_graphs.make(tmp_path / "graph")
    (tmp_path / "program").mkdir()
    backend = OnnxRuntimeBackend()
    program = backend.compile(model, [Bucket(8, 2)], Target("onnxruntime"), CompileOptions(), tmp_path / "program")
    with backend.open(program) as session:
        before = session.run(tiny_graphs.feed(3, 5))["output"]
        session.settle()
        assert np.array_equal(session.run(tiny_graphs.feed(3, 5))["output"], before)
        session.settle()
    assert len(asked) == 2 and asked[1] == []
    assert bool(asked[0]) is bool(large_pages.memory())
