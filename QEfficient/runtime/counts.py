"""How much was computed, and how much of it was padding."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What a call, or all calls together, had a session compute.

    Attributes:
        rows: Rows of all batches.
        batches: How many batches there were.
        tokens: Positions of the rows' own.
        positions: Positions that were computed: padding, and rows that only fill a fixed shape, included.
    """

    rows: int = 0
    batches: int = 0
    tokens: int = 0
    positions: int = 0

    @property
    def efficiency(self) -> float:
        """Share of the computed positions that are the rows' own; 1 where nothing was computed."""
        return self.tokens / self.positions if self.positions else 1.0


class RunCounter:
    """Counts that add up over calls. Safe from many threads."""

    def __init__(self) -> None:
        self.begin()
        self._rows = self._batches = self._tokens = self._positions = 0

    def begin(self) -> None:
        """In a forked child: another thread of the parent may hold the lock."""
        self._lock = threading.Lock()

    def add(self, *, rows: int, batches: int, tokens: int, positions: int) -> None:
        """Adds what a call, or a part of it, computed; see :class:`RunCounts`."""
        with self._lock:
            self._rows += rows
            self._batches += batches
            self._tokens += tokens
            self._positions += positions

    @property
    def total(self) -> RunCounts:
        """All counts so far."""
        with self._lock:
            return RunCounts(self._rows, self._batches, self._tokens, self._positions)
