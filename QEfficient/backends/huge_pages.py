"""Huge pages for what a runtime holds in memory, on Linux.

A text by itself reads each weight once, and a CPU's TLB holds the addresses of a few thousand pages: of 4 KB each these
are fewer bytes than MiniLM's weights have, so it misses all the time. In pages of 2 MB one text is 1.06 to 1.09 times
as fast, with MiniLM as with BERT-base, on onnxruntime (two cores of an EPYC 7003; ``benchmarks/huge_pages.py``), and
1.02 times on OpenVINO (of an EPYC 9004). In batches, where a weight that was read serves many rows, it gains 1 % at
most.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Range: TypeAlias = tuple[int, int]
"""Addresses, from the first to the one past the last."""

SECONDS = 2.0  # for one call of collapse; the 1.3 GB of BERT-large's weights would take about four
_COLLAPSE = 25  # MADV_COLLAPSE of madvise(2), since Linux 6.1; it refuses thread stacks and what nobody has touched yet
_LINE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 ", re.MULTILINE)  # private, writable, of no file
_SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")

_taken: list[Range] = []  # what loading graphs added to this process's memory; two threads at once may lose some of it


@contextmanager
def tracked() -> Iterator[None]:
    """Notes what the process's own memory grows by meanwhile, for the next :func:`collapse`.

    It stays noted after a graph is closed: the next one's weights may come to lie there.
    """
    before = _memory()
    yield
    _taken[:] = joined([*_taken, *added(before, _memory())])


def collapse() -> int:
    """Moves what was noted into huge pages, as far as the system has them and :data:`SECONDS` go.

    What is in memory there stays as it is, and may be read and written meanwhile.

    Returns:
        Bytes that are in huge pages now.
    """
    size, done, end_of_time = page_size(), 0, time.perf_counter() + SECONDS
    for start, end in list(_taken) if size else ():
        for page in range(-(-start // size) * size, end // size * size, size):
            if time.perf_counter() > end_of_time:
                return done
            done += size if not _madvise()(page, size, _COLLAPSE) else 0  # else no longer there, or none is free
    return done


def zeros(shape: Sequence[int], dtype: str) -> NDArray[np.generic]:
    """An array of zeros that takes memory as it is written, a small page at a time.

    ``numpy.zeros`` asks for huge pages: the first token of a slot would take 2 MB of each cache. It may also be given
    memory that was in use before, which takes all of it at once.

    Args:
        shape: At least one element.
        dtype: Name of the dtype.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return np.zeros(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if page_size():
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype).reshape(shape)


def added(before: Sequence[Range], after: Iterable[Range]) -> list[Range]:
    """What is in ``after`` and was not in ``before``, both in order."""
    found, starts = [], [start for start, _ in before]
    for start, end in after:
        for known, past in before[max(0, bisect_right(starts, start) - 1) :]:
            if known >= end:
                break
            if known > start:
                found.append((start, known))
            start = max(start, past)
        found.append((start, end))
    return [(start, end) for start, end in found if start < end]


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same addresses in order, each in one range."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


@cache
def page_size(settings: Path = _SETTINGS) -> int:
    """Bytes of a huge page; 0 where the system has none, or somebody switched them off."""
    try:
        off = "[never]" in (settings / "enabled").read_text()
        return 0 if off else int((settings / "hpage_pmd_size").read_text())
    except (OSError, ValueError):  # not Linux
        return 0


def _memory() -> list[Range]:
    """This process's own memory, in order; none where nothing can be made of it."""
    if not page_size():
        return []
    try:
        told = Path("/proc/self/maps").read_bytes()  # names of files are bytes
    except OSError:
        return []
    return [(int(start, 16), int(end, 16)) for start, end in _LINE.findall(told)]


@cache
def _madvise() -> Any:
    function = ctypes.CDLL(None, use_errno=True).madvise
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
    return function
