"""Huge pages: whose memory is meant, and that nothing but its pages changes."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.backends import huge_pages
from QEfficient.backends.base import Backend
from QEfficient.backends.huge_pages import Range
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.backends.openvino import OpenVinoBackend
from QEfficient.records import MODEL, CompileOptions, Shape, Target
from tests import tiny_graphs

SIZE = 2 * 2**20
on_linux = pytest.mark.skipif(not huge_pages._SETTINGS.exists(), reason="huge pages are used on Linux only")

ranges = st.sets(st.integers(0, 40), max_size=12).map(
    lambda ends: list(zip(*[iter(sorted(ends)[: len(ends) // 2 * 2])] * 2, strict=True))
)


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_taken", [])


def block(pages: int) -> tuple[int, np.ndarray]:
    """Memory with numbers in it, from the start of a huge page on; it lives as long as the numbers do."""
    memory = mmap.mmap(-1, (pages + 1) * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    whole = np.frombuffer(memory, np.uint8)
    skipped = -whole.ctypes.data % SIZE
    numbers = whole[skipped : skipped + pages * SIZE].view(np.int64)
    numbers[:] = np.arange(len(numbers))
    return numbers.ctypes.data, numbers


def inside(parts: list[Range]) -> set[int]:
    return {place for start, end in parts for place in range(start, end)}


@given(before=ranges, after=ranges)
def test_what_was_added(before: list[Range], after: list[Range]) -> None:
    found = huge_pages.added(before, after)
    assert inside(found) == inside(after) - inside(before)
    assert all(start < end for start, end in found) and sum(e - s for s, e in found) == len(inside(found))


@given(parts=st.lists(ranges, max_size=3))
def test_joined_ranges_are_the_same_addresses(parts: list[list[Range]]) -> None:
    every = [one for part in parts for one in part]
    found = huge_pages.joined(every)
    assert inside(found) == inside(every)
    assert all(past < start for (_, past), (start, _) in zip(found, found[1:], strict=False))


@on_linux
def test_what_comes_up_meanwhile_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "page_size", lambda: SIZE)
    before, earlier = block(2)
    with huge_pages.tracked():
        address, numbers = block(8)
    assert any(start <= address and address + numbers.nbytes <= end for start, end in huge_pages._taken)
    assert not any(start <= before < end for start, end in huge_pages._taken), earlier


@on_linux
def test_memory_in_huge_pages_keeps_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "page_size", lambda: SIZE)
    address, numbers = block(1)
    gives = huge_pages._madvise()(address, SIZE, huge_pages._COLLAPSE) == 0  # an older kernel does not
    address, numbers = block(8)
    end = address + numbers.nbytes
    huge_pages._taken[:] = [(address + 4096, end - 4096), (end + 2**40, end + 2**40 + SIZE)]  # the second: nowhere
    assert huge_pages.collapse() == (6 * SIZE if gives else 0)
    assert np.array_equal(numbers, np.arange(len(numbers)))


def test_it_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(huge_pages, "page_size", lambda: SIZE)
    monkeypatch.setattr(huge_pages, "_madvise", lambda: lambda page, *_: asked.append(page) or 0)
    huge_pages._taken[:] = [(0, 10 * SIZE)]
    assert huge_pages.collapse() == 10 * SIZE and len(asked) == 10
    monkeypatch.setattr(huge_pages, "SECONDS", -1.0)
    assert huge_pages.collapse() == 0 and len(asked) == 10


def test_whoever_switched_them_off_gets_none(tmp_path: Path) -> None:
    size = huge_pages.page_size.__wrapped__
    (tmp_path / "hpage_pmd_size").write_text(f"{SIZE}\n")
    for told, expected in (("always [madvise] never", SIZE), ("always madvise [never]", 0)):
        (tmp_path / "enabled").write_text(told)
        assert size(tmp_path) == expected
    assert size(tmp_path / "not Linux") == 0


@on_linux
def test_a_file_with_an_odd_name_is_in_nobody_s_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "page_size", lambda: SIZE)
    odd = bytes(tmp_path) + b"/mod\xe8le \n rw-p.bin"
    with open(odd, "wb+") as file:
        file.write(b"x" * 4096)
        file.flush()
        with mmap.mmap(file.fileno(), 4096):
            assert huge_pages._memory()


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend(), OpenVinoBackend()], ids=lambda each: each.name)
def test_a_session_moves_what_it_loads(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_graphs.make(tmp_path / "graph")
    (tmp_path / "program").mkdir()
    program = backend.compile(
        {MODEL: model}, {MODEL: [Shape(8, 2)]}, Target(backend.name), CompileOptions(), tmp_path / "program"
    )
    huge_pages._taken.clear()  # of the compile
    told = [[(0, SIZE)], [(0, SIZE), (4 * SIZE, 9 * SIZE)]]
    monkeypatch.setattr(huge_pages, "_memory", lambda: told.pop(0) if told else [])
    asked: list[int] = []
    monkeypatch.setattr(huge_pages, "page_size", lambda: SIZE)
    monkeypatch.setattr(huge_pages, "_madvise", lambda: lambda page, *_: asked.append(page) or 0)
    with backend.open(program) as session:
        session.use_huge_pages()
    assert asked == [page * SIZE for page in range(4, 9)]


@on_linux
def test_zeros_take_memory_as_they_are_written() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    found, before = huge_pages.zeros((32, SIZE // 4), "float32"), resident()
    found[:, 0] = 1
    assert resident() - before < SIZE  # 32 pages of 4 KB; in huge pages it is all of the 64 MB
    assert found.sum() == 32 and found.flags.carray
