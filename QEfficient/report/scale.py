"""Axes: where a value stands, in per cent of the drawing, and which values get a tick."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 5.0, 10.0)  # a step between ticks is one of these, times a power of ten


@dataclass(frozen=True, slots=True)
class Scale:
    """One axis.

    Attributes:
        low, high: The values at its two ends; ``low < high``, and above zero on a logarithmic axis.
        ticks: The values that are labelled, ascending.
        log: True for a logarithmic axis.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where ``value`` stands, 0 to 100. What lies beyond an end, or is no number, is drawn at that end."""
        if math.isnan(value) or value >= self.high:
            return 100.0
        if value <= self.low:
            return 0.0
        if self.log:
            return 100 * math.log(value / self.low) / math.log(self.high / self.low)
        return 100 * (value - self.low) / (self.high - self.low)


def linear(values: Iterable[float], *, ticks: int = 5) -> Scale:
    """A linear axis from 0 on, or below it, to the largest of ``values``, with round numbers at both ends."""
    found = [value for value in values if math.isfinite(value)]
    low, high = min(found, default=0.0), max(found, default=1.0)
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high += 1
    return _between(low, high, ticks)


def around(values: Iterable[float], *, ticks: int = 5) -> Scale:
    """A linear axis around ``values``, wherever zero is: its ends are round numbers close to theirs."""
    found = [value for value in values if math.isfinite(value)]
    low, high = min(found, default=0.0), max(found, default=1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = 0.1 * abs(low) or 1.0
        low, high = low - room, high + room
    return _between(low, high, ticks)


def logarithmic(values: Iterable[float]) -> Scale:
    """A logarithmic axis around the positive ones of ``values``; its ends are 1, 2 or 5 times a power of ten."""
    found = [value for value in values if math.isfinite(value) and value > 0]
    low, high = min(found, default=1.0), max(found, default=10.0)
    bottom = 10.0 ** math.floor(math.log10(low) + 1e-9)
    low = max(step * bottom for step in _STEPS if step * bottom <= low * (1 + 1e-9))
    high = _step(high if high > low * (1 + 1e-9) else 2 * low)
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first) / 6))
    marks = [10.0**power for power in range(first, last + 1, every)]
    if last - first < 2:
        marks = [step * 10.0**power for power in range(first - 1, last + 1) for step in _STEPS[:-1]]
    inside = [mark for mark in marks if low * (1 - 1e-9) <= mark <= high * (1 + 1e-9)]
    return Scale(low, high, tuple(inside), log=True)


def thin(values: Sequence[str], most: int) -> Sequence[str]:
    """At most ``most`` of the values, evenly chosen and starting with the first: for labels that need room."""
    return values[:: max(1, math.ceil(len(values) / most))]


def _between(low: float, high: float, ticks: int) -> Scale:
    step = _step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = tuple(round(number * step, 12) for number in range(first, last + 1))
    return Scale(marks[0], marks[-1], marks)


def _step(wanted: float) -> float:
    power = 10.0 ** math.floor(math.log10(wanted))
    return power * next(step for step in _STEPS if step * power >= wanted * (1 - 1e-9))
