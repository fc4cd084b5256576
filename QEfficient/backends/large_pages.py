"""Large pages for what a runtime holds in memory, on Linux.

A text by itself reads each weight once, and a CPU remembers the places of a few thousand pages: of 4 KB each these are
fewer bytes than MiniLM's weights have. In pages of 2 MB one text is 1.06 to 1.09 times as fast, with MiniLM as with
BERT-base (two cores of an EPYC 7003; ``benchmarks/large_pages.py``). In batches, where a weight that was read serves
many rows, it gains 1 % at most.
"""

from __future__ import annotations

import ctypes
import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]
"""Addresses, from the first to the one past the last."""

SIZE = 2 * 2**20
SECONDS = 2.0  # for one session; 1.3 GB of BERT-large's weights would take about four
_LEAST = 2 * SIZE  # ranges below that hold few whole pages
_HUGEPAGE, _COLLAPSE = 14, 25  # of madvise(2): the second one since Linux 6.1
_LINE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 ", re.MULTILINE)  # private, writable, of no file


def memory() -> list[Range]:
    """This process's own memory, in order; none where the system does not tell, or does not give large pages."""
    if not _given():
        return []
    try:
        told = Path("/proc/self/maps").read_text()
    except OSError:
        return []
    return [(int(start, 16), int(end, 16)) for start, end in _LINE.findall(told)]


def added(before: Sequence[Range], after: Iterable[Range]) -> list[Range]:
    """What is in ``after`` and was not in ``before``, both in order: pieces that hold a large page or more."""
    found, starts = [], [start for start, _ in before]
    for start, end in after:
        place = max(0, bisect_right(starts, start) - 1)
        for known, past in before[place:]:
            if known >= end:
                break
            if known > start:
                found.append((start, known))
            start = max(start, past)
        found.append((start, end))
    return [(start, end) for start, end in found if end - start >= _LEAST]


def use(ranges: Iterable[Range]) -> int:
    """Puts what lies there into large pages, as far as the system has them and :data:`SECONDS` go.

    What is in memory there stays as it is, and may be read and written meanwhile.

    Returns:
        Bytes that are in large pages now.
    """
    done, end_of_time = 0, time.perf_counter() + SECONDS
    for start, end in ranges:
        first, last = -(-start // SIZE) * SIZE, end // SIZE * SIZE
        if first >= last or _madvise()(first, last - first, _HUGEPAGE):
            continue  # no longer there, say
        for page in range(first, last, SIZE):
            if time.perf_counter() > end_of_time:
                return done
            done += SIZE if not _madvise()(page, SIZE, _COLLAPSE) else 0
    return done


@cache
def _madvise() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).madvise
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
    return function


@cache
def _given(setting: Path = Path("/sys/kernel/mm/transparent_hugepage/enabled")) -> bool:
    """Whether this is Linux, and nobody has switched large pages off."""
    try:
        return "[never]" not in setting.read_text()
    except OSError:
        return False
