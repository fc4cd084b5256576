"""How much was computed, and how much of it was padding."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
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

    def __add__(self, other: Work) -> Work:
        return Work(
            self.rows + other.rows,
            self.batches + other.batches,
            self.tokens + other.tokens,
            self.positions + other.positions,
        )


class Tally:
    """Work that adds up over calls. Safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = Work()

    def add(self, work: Work) -> None:
        """Counts a call's work."""
        with self._lock:
            self._total += work

    @property
    def total(self) -> Work:
        """All work so far."""
        return self._total
