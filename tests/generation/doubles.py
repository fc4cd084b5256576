"""A decoder without a model: its logits depend on every token that a slot holds, so a lost or crossed row shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.generation.decoder import Chunk
from QEfficient.records import DecoderFacts


class MadeUpDecoder:
    """``Decoder`` over lists of tokens.

    Args:
        facts: What it pretends to be compiled for.
        vocabulary: Number of tokens.
        seed: Of its "weights".
    """

    def __init__(self, facts: DecoderFacts, vocabulary: int = 17, seed: int = 0) -> None:
        self.facts = facts
        rng = np.random.default_rng(seed)
        self.table = rng.standard_normal((vocabulary, vocabulary))
        self.slots: list[list[int]] = [[] for _ in range(facts.cache_slots)]
        self.decodes: list[int] = []
        self.closed = False

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """What follows ``ids``: earlier tokens count less and less, none counts nothing."""
        state = np.zeros(len(self.table))
        for token in ids:
            state = 0.7 * state + self.table[token]
        return (2 * state).astype(np.float32)

    def _write(self, chunk: Chunk) -> None:
        assert chunk.start + len(chunk.ids) <= self.facts.room
        held = self.slots[chunk.slot]
        assert len(held) >= chunk.start, "a hole in the cache"
        self.slots[chunk.slot] = [*held[: chunk.start], *chunk.ids]

    def prefill(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        assert len({chunk.slot for chunk in chunks}) == len(chunks)
        for chunk in chunks:
            assert 1 <= len(chunk.ids) <= self.facts.prefill_len
            self._write(chunk)
        return np.stack([self.logits(self.slots[chunk.slot]) for chunk in chunks])

    def decode(self, rows: Sequence[Chunk]) -> NDArray[np.float32]:
        assert len({row.slot for row in rows}) == len(rows) <= self.facts.decode_rows
        assert len({len(row.ids) for row in rows}) == 1
        self.decodes.append(len(rows))
        found = []
        for row in rows:
            self._write(row)
            held = self.slots[row.slot]
            found.append([self.logits(held[: row.start + 1 + place]) for place in range(len(row.ids))])
        return np.array(found, np.float32)

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        self.slots[target] = self.slots[source][:length]

    def read(self, slot: int) -> Arrays:
        return {"held": np.array(self.slots[slot])}

    def write(self, slot: int, state: Arrays) -> None:
        self.slots[slot] = state["held"].tolist()

    def clear(self, slot: int | None = None) -> None:
        for each in range(len(self.slots)) if slot is None else [slot]:
            self.slots[each] = []

    @property
    def bytes_held(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True
