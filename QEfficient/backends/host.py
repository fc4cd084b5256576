"""What every host backend asks of this machine."""

from __future__ import annotations

import math
import os
import platform
import threading
from collections import deque
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from QEfficient.records import Tuning

WEIGHT_ONLY: Mapping[str, int] = MappingProxyType({"int8_weights": 8, "int4_weights": 4})
"""Precisions in which weights alone have fewer bits, and how many."""

ROUNDED: Mapping[str, int] = MappingProxyType({"int8_weights_int8": 8, "int4_weights_int8": 4})
"""Precisions of decoders in which such weights are multiplied by int8: each product rounds what it reads."""

NARROW: Mapping[str, int] = MappingProxyType({**WEIGHT_ONLY, **ROUNDED})
"""All precisions in which weights have fewer bits, and how many."""

GROUPED: Mapping[str, int] = MappingProxyType({**dict.fromkeys(NARROW, 32), "int4_weights_int8": 64})
"""In each of them the most inputs of a decoder's product whose weights share a step.

By int8, SmolLM2 takes with 64 in place of 32 0.9 of the time on onnxruntime, and half of it on OpenVINO for 256 rows;
645 of 864 tokens are HuggingFace's. Multiplied in fp32 32 are nearer to the numbers: 664.
"""

BATCH_TOKENS = 256
"""Positions of one stream's batch, before anything is measured: its widest activations then fit a core's cache.

MiniLM on two cores with 1 MiB each, short texts: 340 texts/s at 256 positions, 328 at 512, 300 at 1024. BERT-base: 40,
37 and 28.
"""

SHARED = 512 * 2**20
"""Bytes of weights up to which streams are the guess. A session for streams holds the weights once more than the one
that takes every CPU; what it gains falls from 8 % with MiniLM and BERT-base (90 and 440 MB) to nothing with BERT-large.
"""


def guess(weights: int) -> Tuning:
    """How to run a program of so many bytes on this machine, before anything is measured."""
    cpus = usable_cpus()
    return Tuning(cpus, 1, BATCH_TOKENS) if weights <= SHARED else Tuning(1, cpus, BATCH_TOKENS)


class FairSemaphore:
    """A counting semaphore over CPUs, which shares them among a session's callers: first come, first served.

    A caller takes several at once. ``threading.Semaphore`` gives one at a time, in any order.

    Args:
        places: CPUs.
    """

    def __init__(self, places: int) -> None:
        self._places = self._free = places
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._lock = threading.Lock()

    def acquire(self, places: int) -> int:
        """Waits until so many places are free, all if there are not so many, and takes them.

        Returns:
            How many to :meth:`release`.
        """
        places = min(places, self._places)
        with self._lock:
            if not self._waiting and self._free >= places:
                self._free -= places
                return places
            gate = threading.Lock()
            gate.acquire()
            ticket = places, gate
            self._waiting.append(ticket)
        try:
            gate.acquire()  # until release opens it
        except BaseException:  # a signal's: leave no trace
            with self._lock:
                waits = ticket in self._waiting
                if waits:
                    self._waiting.remove(ticket)
            self.release(0 if waits else places)
            raise
        return places

    def release(self, places: int) -> None:
        """Gives places back, to those who wait longest."""
        with self._lock:
            self._free += places
            while self._waiting and self._free >= self._waiting[0][0]:
                taken, gate = self._waiting.popleft()
                self._free -= taken
                gate.release()


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, and its control group's quota where there is one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, math.ceil(_cpu_quota() or count)))


def processor() -> str:
    """Name of the processor, as the system tells it. What was measured on one does not hold on another."""
    facts = _cpu_facts()
    if not facts:
        return platform.processor() or platform.machine()
    known = ("vendor_id", "model name", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
    return ", ".join(facts[field] for field in known if field in facts) or platform.machine()


def sums_int8_in_32_bits() -> bool:
    """Whether the CPU's own product of int8 vectors has room for its sums.

    An x86 CPU without VNNI adds two products in 16 bits and stops at their ends. Where the system does not say what
    the CPU has, an x86 one counts as such.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(_cpu_facts().get("flags", "").split())


@cache
def _cpu_facts() -> Mapping[str, str]:
    """What Linux says of the first CPU; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:  # not Linux
        return {}
    return {field.strip(): value.strip() for field, _, value in (line.partition(":") for line in lines)}


def _cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPUs that the control group allows, ``None`` without a limit. Version 2, else version 1."""
    try:
        if (root / "cpu.max").is_file():
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text()
            period = (root / "cpu/cpu.cfs_period_us").read_text()
        cpus = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None
    return cpus if cpus > 0 else None
