"""Steps that move all that a graph with an encoder can get wrong, besides what ``decoder_steps`` moves.

Sources of mixed lengths come in one after the other, beside rows that go on with theirs, and one comes into a slot that
held a longer one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from QEfficient.backends.base import Arrays
from QEfficient.numerics.decoder_steps import CHUNKS, LENGTHS, Part, slots_of, token_inputs
from QEfficient.records import BATCH_INDEX, SOURCE

DECODED, SOURCES = (*LENGTHS, 9), (23, 31, 1, 5)
"""Usual lengths of the sequences, and of their sources."""

PADDING = 3
"""Places behind the longest source of a call."""

_ROWS = (0, 1, 2, 1)  # of the sequences, where row n has cache n: the last one takes another's place
_SLOTS = (3, 0, 2, 0)  # of the sequences; 1 stays empty
_BEGINS = (0, 1, 2, 4)  # at which call


@dataclass(frozen=True, slots=True)
class SourceSteps:
    """Calls of a graph.

    Attributes:
        sources: Ids that the encoder reads, of each sequence.
        sequences: Ids of the decoder.
        continuous: Whether rows name their slots.
    """

    sources: Sequence[Sequence[int]]
    sequences: Sequence[Sequence[int]]
    continuous: bool

    def calls(self) -> Iterator[list[Part]]:
        """The chunks of each call, until every sequence is at its end."""
        at, number = [0] * len(self.sequences), 0
        while any(place < len(ids) for place, ids in zip(at, self.sequences, strict=True)):
            parts: list[Part] = []
            for one, ids in enumerate(self.sequences):
                taken = any(part.sequence < one and _ROWS[part.sequence] == _ROWS[one] for part in parts)
                if at[one] < len(ids) and number >= _BEGINS[one] and not taken:
                    end = min(at[one] + CHUNKS[(number + one) % len(CHUNKS)], len(ids))
                    parts.append(Part(one, at[one], end))
                    at[one] = end
            number += 1
            if parts:
                yield parts

    def asked(self, part: Part) -> range:
        """Positions of a chunk whose logits the graph gives."""
        return range(part.end - 1, part.end)

    def inputs(self, parts: Sequence[Part], number: int) -> Arrays:
        """What the graph is given in a call; tokens are padded on the right, or on the left in every other one."""
        rows = len(parts) + 1 if self.continuous else max(_ROWS) + 1  # one idle row
        brought = [len(self.sources[part.sequence]) for part in parts if not part.start]
        source = np.full((rows, max(brought) + PADDING if brought else 1), -1, np.int64)
        placed = dict(zip(self.rows(parts), parts, strict=True))
        for row, part in placed.items():
            if not part.start:
                source[row, : len(self.sources[part.sequence])] = self.sources[part.sequence]
        found = {SOURCE: source, **token_inputs(self.sequences, placed, rows, number)}
        if self.continuous:
            found[BATCH_INDEX] = slots_of(parts, _SLOTS)
        return found

    def rows(self, parts: Sequence[Part]) -> Sequence[int]:
        """The row of each chunk."""
        return range(len(parts)) if self.continuous else [_ROWS[part.sequence] for part in parts]
