"""When one sequence is at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.generation.settings import GenerationSettings
from QEfficient.generation.strategy import Reason

Stop = Callable[[NDArray[np.int64]], bool]
"""The new tokens of one sequence → whether it ends behind the last of them.

It is asked behind every token, and must depend on these alone: beams ask for many sequences in turn.
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends a sequence, as transformers' stopping criteria do.

    Attributes:
        ends: The end tokens.
        most: New tokens that there may be.
        stops: Stop strings, and a caller's own criteria.
        deadline: On ``clock``; behind it the next token is the last one.
        clock: Seconds.
    """

    ends: frozenset[int]
    most: int
    stops: tuple[Stop, ...] = ()
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, settings: GenerationSettings, most: int, stops: Sequence[Stop] = ()) -> Ending:
        """What ``settings`` ask for; the time runs from now on."""
        deadline = None if settings.max_time is None else time.monotonic() + settings.max_time
        return cls(frozenset(settings.eos_token_id), most, tuple(stops), deadline)

    def reason(self, ids: NDArray[np.int64]) -> Reason | None:
        """Why the sequence with these new tokens, at least one, is at its end; ``None``: it goes on."""
        if int(ids[-1]) in self.ends or any(stop(ids) for stop in self.stops):
            return "stop"
        late = self.deadline is not None and self.clock() > self.deadline
        return "length" if late or len(ids) >= self.most else None
