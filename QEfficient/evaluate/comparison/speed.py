"""How fast each of several models answers: measured in turns in one process, so that all meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from QEfficient.arguments import is_number, positive
from QEfficient.errors import OptionError
from QEfficient.progress import progress
from QEfficient.records import Json

Run = Callable[[Sequence[int]], object]
"""Answers some rows of the data, which are named by position."""

SINGLES = 50  # calls of one row, so that their median does not hang on one of them
_BLOCK = 10  # of them in a row: a model that is alone in the caches, as where it serves
_FEWEST = 5  # rounds that a round's size aims at, and calls of one row that even a very slow model is given
_SAMPLE = 8  # rows, at most, by which the size of a round is found
_MOST = 200  # rounds: more tell nothing new


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one model answers.

    Attributes:
        rates: Rows a second of each round, in the order of running.
        latencies: Seconds of each call of one row.
        rows: Rows of a round, the same for all models that were measured together.
        unit: What a row is: ``"texts"``, ``"images"``.
    """

    rates: tuple[float, ...]
    latencies: tuple[float, ...]
    rows: int
    unit: str = "rows"

    @property
    def rate(self) -> float:
        """Rows a second, the median of the rounds."""
        return float(np.median(self.rates))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between these lies the middle half of the rounds, in rows a second."""
        low, high = np.percentile(self.rates, (25, 75))
        return float(low), float(high)

    @property
    def p50(self) -> float:
        """The median time of one row alone, in seconds."""
        return float(np.median(self.latencies))

    def to_dict(self) -> dict[str, Json]:
        """What is shown of it, and how often it was measured."""
        low, high = self.quartiles
        return {
            "unit": self.unit,
            "rows_per_second": self.rate,
            "rows_per_second_low": low,
            "rows_per_second_high": high,
            "p50_seconds": self.p50,
            "rows_a_round": self.rows,
            "rounds": len(self.rates),
            "single_calls": len(self.latencies),
        }


def measure_speeds(
    runs: Sequence[Run],
    rows: int,
    *,
    seconds: float = 2.0,
    seed: int = 0,
    unit: str = "rows",
    progress_bar: bool | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Speed, ...]:
    """Measures models side by side.

    Each round gives every model the same rows, in a random order of models; what slows the machine down for a while
    slows all of them. Before each turn one row is run that is not measured: the threads and caches that the model
    before has left are not on this one's clock.

    Args:
        runs: One a model. Its first calls, which warm it up, are not measured.
        rows: Rows of the data, from 1 on.
        seconds: For each model, about: rounds of many rows take half of it, calls of one row the rest. At least one
            round and five calls of one row are measured, however long they take; :data:`SINGLES` if there is time.
        seed: Of the order of models and of the choice of rows.
        unit: What a row is.
        progress_bar: Whether to show one; left out, where a person sees it.
        clock: Gives seconds.

    Returns:
        One a model, in order.

    Raises:
        OptionError: ``seconds`` is no length of time, or ``rows`` no positive whole number.
    """
    rows, seconds = positive("rows", rows, "rows"), length_of_time(seconds)
    if not runs:
        return ()
    turns = _Turns(runs, rows, np.random.default_rng(seed), clock)
    with progress(None, progress_bar, "speed", " calls") as advance:
        turns.advance = advance
        size = turns.round_size(seconds / 2)
        rates = turns.rates(size, seconds / 2)
        latencies = turns.latencies(seconds / 2)
    return tuple(Speed(tuple(r), tuple(s), size, unit) for r, s in zip(rates, latencies, strict=True))


def length_of_time(seconds: object) -> float:
    """Seconds as a float, if they can be waited for.

    Raises:
        OptionError: They are no finite number above 0.
    """
    if not is_number(seconds) or not 0 < float(seconds) < float("inf"):  # type: ignore[arg-type]  # a number
        raise OptionError(
            "seconds is not a length of time.",
            got=f"seconds={seconds!r}",
            allowed="a number above 0",
            do="pass the seconds that each model is measured for",
        )
    return float(seconds)  # type: ignore[arg-type]


class _Turns:
    """The models taking turns."""

    def __init__(self, runs: Sequence[Run], rows: int, random: np.random.Generator, clock: Callable[[], float]) -> None:
        self._runs, self._rows, self._random, self._clock = runs, rows, random, clock
        self.advance: Callable[[int], object] | None = None

    def round_size(self, seconds: float) -> int:
        """Rows of which the slowest model answers :data:`_FEWEST` rounds in ``seconds``; never more than there are.

        It is found by a few rows together. A round has no fewer than these: they were no more than fits, and a model
        that is slow for a moment does not make single rows of the rounds.
        """
        single = self._slowest(1)
        sample = self._fitting(seconds, single, 1, min(_SAMPLE, self._rows))
        return self._fitting(seconds, self._slowest(sample) / sample, sample, self._rows)

    def _slowest(self, size: int) -> float:
        """Seconds in which the slowest model answers so many rows, once it is warm."""
        chosen, slowest = self._some(size), 0.0
        for run in self._runs:
            run(chosen)  # what is loaded and compiled on use is loaded and compiled
            slowest = max(slowest, self._timed(run, chosen))
        return slowest

    @staticmethod
    def _fitting(seconds: float, each: float, fewest: int, most: int) -> int:
        """So many rows as a round has time for, where one takes ``each`` seconds."""
        return most if each <= 0 else int(min(max(seconds / _FEWEST / each, fewest), most))

    def rates(self, size: int, seconds: float) -> list[list[float]]:
        """Rows a second, a list a model."""
        found: list[list[float]] = [[] for _ in self._runs]
        spent = 0.0
        while len(found[0]) < _MOST and (not found[0] or spent < seconds * len(self._runs)):
            chosen = self._some(size)
            for place in self._random.permutation(len(self._runs)):
                run = self._runs[place]
                run(chosen[:1])
                took = self._timed(run, chosen)
                spent += took
                found[place].append(size / max(took, 1e-9))
        return found

    def latencies(self, seconds: float) -> list[list[float]]:
        """Seconds of calls of one row, a list a model."""
        found: list[list[float]] = [[] for _ in self._runs]
        waiting = set(range(len(self._runs)))
        while waiting:
            chosen = [self._some(1) for _ in range(_BLOCK)]
            for place in self._random.permutation(sorted(waiting)):
                run, mine = self._runs[place], found[place]
                run(chosen[0])
                for row in chosen:
                    mine.append(self._timed(run, row))
                    if len(mine) >= SINGLES or (len(mine) >= _FEWEST and sum(mine) >= seconds):
                        waiting.discard(int(place))
                        break
        return found

    def _some(self, count: int) -> list[int]:
        return [int(row) for row in self._random.choice(self._rows, count, replace=False)]

    def _timed(self, run: Run, chosen: Sequence[int]) -> float:
        before = self._clock()
        run(chosen)
        took = self._clock() - before
        if self.advance:
            self.advance(1)
        return took
