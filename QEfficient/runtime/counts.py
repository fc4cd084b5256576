"""How much was computed, and how much of it was padding."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


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


@dataclass(eq=False, slots=True)
class RunCounter:
    """Counts that add up over calls. Safe from many threads, and in a forked child: there is no lock to find held.

    Attributes:
        sums: Of the fields of :class:`RunCounts`, in their order. To add to so few numbers is one step of numpy's,
            during which it keeps the GIL.
    """

    sums: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))

    @property
    def total(self) -> RunCounts:
        """All counts so far."""
        return RunCounts(*self.sums.tolist())
