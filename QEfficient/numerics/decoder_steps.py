"""Steps that move all that a decoder's graph can get wrong: its logits at each of them against HuggingFace's own.

Sequences of several lengths go through the graph side by side, in chunks of many lengths, in slots out of order, beside
an idle row, with padding on either side. Every place that is written, read or hidden counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.records import BATCH_INDEX, INPUT_IDS, NUM_LOGITS_TO_KEEP, POSITION_IDS

LARGEST_ERROR = 2e-4
"""Of a logit, ÷ the largest logit of its row: rounding in float32 gives 1e-6 to 5e-5."""
NEAR = 1e-3
"""HuggingFace's two best logits lie nearer than this: its choice is a matter of rounding."""
CACHE_SLOTS = 5
"""First axis of the caches, the scratch slot with it, where rows name their slots; else there is one a sequence."""
LENGTHS = (57, 29, 11)
"""Usual lengths of the sequences; a window makes the first one longer."""

_SLOTS = (3, 0, 2)  # of the sequences; 1 stays empty
CHUNKS = (1, 7, 3, 33, 1, 1, 2)
"""Tokens of a chunk, in turn."""
_MANY, _LEFT = 64, 9  # so many tokens go in one chunk, but for a few

Floats = NDArray[np.float32]
Logits = Mapping[int, Floats]
"""Position → logits behind the token that stands there."""


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk of a sequence: which one, where it starts in it, and where it ends."""

    sequence: int
    start: int
    end: int


class Calls(Protocol):
    """What :func:`worst_difference` runs: :class:`Steps`, or those of a graph with an encoder."""

    @property
    def sequences(self) -> Sequence[Sequence[int]]:
        """Ids."""
        ...

    def calls(self) -> Iterator[list[Part]]:
        """The chunks of each call, until every sequence is at its end."""
        ...

    def asked(self, part: Part) -> range:
        """Positions of a chunk whose logits the graph gives."""
        ...

    def inputs(self, parts: Sequence[Part], number: int) -> Arrays:
        """What the graph is given in a call."""
        ...

    def rows(self, parts: Sequence[Part]) -> Sequence[int]:
        """The row of each chunk."""
        ...


@dataclass(frozen=True, slots=True)
class Steps:
    """Calls of a graph.

    Attributes:
        sequences: Ids.
        continuous: Whether rows name their slots.
        kept: Last positions of a row that the graph gives logits of; ``None``: it gives the last one's, unasked.
    """

    sequences: Sequence[Sequence[int]]
    continuous: bool
    kept: int | None

    def calls(self) -> Iterator[list[Part]]:
        """The chunks of each call, until every sequence is at its end."""
        at, number = [0] * len(self.sequences), 0
        while any(place < len(ids) for place, ids in zip(at, self.sequences, strict=True)):
            going = [one for one, ids in enumerate(self.sequences) if at[one] < len(ids)]
            shift = number % len(going)
            parts = []
            for one in (going[shift:] + going[:shift]) if self.continuous else going:
                left = len(self.sequences[one]) - at[one]
                width = left - _LEFT if left >= _MANY and number else CHUNKS[(number + one) % len(CHUNKS)]
                parts.append(Part(one, at[one], at[one] + min(width, left)))
                at[one] = parts[-1].end
            yield parts
            number += 1

    def asked(self, part: Part) -> range:
        """Positions of a chunk whose logits the graph gives."""
        return range(max(part.start, part.end - (self.kept or 1)), part.end)

    def inputs(self, parts: Sequence[Part], number: int) -> Arrays:
        """What the graph is given in a call, padded on the right, or on the left in every other one."""
        rows = len(parts) + 1 if self.continuous else len(self.sequences)  # one idle row
        found = token_inputs(self.sequences, dict(zip(self.rows(parts), parts, strict=True)), rows, number)
        if self.continuous:
            found[BATCH_INDEX] = slots_of(parts, _SLOTS)
        if self.kept is not None:
            found[NUM_LOGITS_TO_KEEP] = np.zeros((self.kept, 1), np.int64)
        return found

    def rows(self, parts: Sequence[Part]) -> Sequence[int]:
        """The row of each chunk."""
        return range(len(parts)) if self.continuous else [part.sequence for part in parts]


def worst_difference(steps: Calls, run: Callable[[Arrays], Arrays], wanted: Sequence[Logits]) -> tuple[float, str]:
    """Runs the steps.

    Args:
        steps: What to run.
        run: The graph, whose caches hold nothing yet.
        wanted: HuggingFace's logits, of each sequence.

    Returns:
        The largest difference of a logit ÷ the largest logit of its row, and what is wrong, in words: ``""``, or the
        first place where that is above :data:`LARGEST_ERROR`, or where another token is best.
    """
    worst, wrong = 0.0, ""
    for number, parts in enumerate(steps.calls()):
        logits = run(steps.inputs(parts, number))["logits"]
        for part, row in zip(parts, steps.rows(parts), strict=True):
            for back, position in enumerate(reversed(steps.asked(part))):
                error, other = _difference(wanted[part.sequence][position], logits[row, logits.shape[1] - 1 - back])
                worst = max(worst, error)
                if not wrong and (error > LARGEST_ERROR or other):
                    what = other or f"the logits are off by {error:.2g} of the largest"
                    wrong = f"{what} at position {position} of {len(steps.sequences[part.sequence])}, in a chunk from "
                    wrong += f"{part.start} to {part.end - 1}, call {number}"
    return worst, wrong


def _difference(want: Floats, got: NDArray[Any]) -> tuple[float, str]:
    """How far logits are from HuggingFace's; and which token is the best, where it should be another."""
    error = float(np.abs(got - want).max() / np.abs(want).max())
    if not np.isfinite(error):
        return float("inf"), "there is NaN or Inf"
    best, found = int(want.argmax()), int(got.argmax())
    if best == found or want[best] - want[found] < NEAR:
        return error, ""
    return error, f"token {found} is best, not {best}"


def token_inputs(sequences: Sequence[Sequence[int]], parts: Mapping[int, Part], rows: int, number: int) -> Arrays:
    """Tokens and positions of a call, padded on the right, or on the left in every other one.

    Args:
        sequences: Ids.
        parts: The chunk of each row that has one.
        rows: Of the call, idle ones with them.
        number: Of the call.
    """
    width = max(part.end - part.start for part in parts.values())
    ids, positions = np.zeros((rows, width), np.int64), np.full((rows, width), -1, np.int64)
    for row, part in parts.items():
        length = part.end - part.start
        place = slice(0, length) if number % 2 == 0 else slice(width - length, width)
        ids[row, place] = sequences[part.sequence][part.start : part.end]
        positions[row, place] = np.arange(part.start, part.end)
    return {INPUT_IDS: ids, POSITION_IDS: positions}


def slots_of(parts: Sequence[Part], slots: Sequence[int]) -> NDArray[np.int64]:
    """The slot of each row, an idle one's at the end.

    Args:
        parts: The chunk of each row.
        slots: Of each sequence.
    """
    return np.array([[slots[part.sequence]] for part in parts] + [[-1]], np.int64)
