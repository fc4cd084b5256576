"""What each slot of a decoder's caches holds, and which slots a new request gets."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.records import DecoderFacts

SIMILAR = 0.1
"""The part of a prompt that a slot must hold to be taken for it, where that destroys something else: the slot a prompt
merely begins alike with (a BOS token) is not the one to overwrite. The default of llama.cpp's server."""


class SlotTable:
    """The tokens that each slot holds, by position from 0.

    It knows what a decoder was told and no more; who owns a slot is the caller's to say.

    Args:
        facts: What the program is compiled for.
    """

    def __init__(self, facts: DecoderFacts) -> None:
        self._rewinds = facts.rewinds
        self._ids = np.zeros((facts.cache_slots, facts.ctx_len), np.int64)
        self._lengths = [0] * facts.cache_slots
        self._spaces: list[Hashable] = [None] * facts.cache_slots
        self._used = [0] * facts.cache_slots  # when it was given back, by count
        self._clock = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def length(self, slot: int) -> int:
        """Tokens that a slot holds."""
        return self._lengths[slot]

    def usable(self, slot: int, ids: NDArray[np.int64], space: Hashable) -> int:
        """Tokens of a slot that a sequence can go on from.

        Its last token is not among them: it is run for its logits. A slot that can't be rewound is all or nothing.

        Args:
            slot: Which.
            ids: The sequence.
            space: What else the caches depend on.
        """
        length = self._lengths[slot]
        most = min(length, len(ids) - 1)
        if most < 1 or self._spaces[slot] != space:
            return 0
        differs = self._ids[slot, :most] != ids[:most]
        first = int(differs.argmax())
        alike = first if differs[first] else most
        return alike if self._rewinds or alike == length else 0

    def choose(self, free: Collection[int], ids: NDArray[np.int64], space: Hashable, copy_saves: int | None) -> int:
        """The free slot that a sequence should begin in.

        That which holds most of it, where this destroys nothing, or less than it gives and than a copy costs; or where
        it holds much of it and no copy is worth it. Else that which was used least recently.

        Args:
            free: Slots that nobody owns; one or more.
            ids: The sequence.
            space: What else the caches depend on.
            copy_saves: From how many tokens on they are copied from another slot; ``None``: never.
        """
        copied, tail = (len(ids), 1) if copy_saves is None else (copy_saves, copy_saves)
        found = []
        for slot in free:
            usable = self.usable(slot, ids, space)
            lost = self._lengths[slot] - usable
            if usable and (lost < min(tail, usable + 1) or SIMILAR * len(ids) <= usable < copied):
                found.append((usable, -lost, -self._used[slot], slot))
        return max(found)[-1] if found else self.oldest(free, 1)[0]

    def oldest(self, free: Collection[int], count: int) -> list[int]:
        """Those used least recently; empty ones before all others."""
        return sorted(free, key=lambda slot: (self._lengths[slot] > 0, self._used[slot], slot))[:count]

    def source(self, slot: int, ids: NDArray[np.int64], space: Hashable) -> tuple[int, int]:
        """Another slot, owned or free, that holds most of a sequence: which, and how many of its tokens."""
        found = [(self.usable(other, ids, space), -other) for other in range(len(self)) if other != slot]
        tokens, negative = max(found, default=(0, 0))
        return -negative, tokens

    def begin(self, slot: int, tokens: int, space: Hashable) -> None:
        """A sequence begins in a slot and keeps that many of its tokens."""
        self._lengths[slot], self._spaces[slot] = tokens, space

    def hold(self, slot: int, start: int, ids: Sequence[int]) -> None:
        """Tokens were written from a position on; what the slot held behind them is gone."""
        end = start + len(ids)
        self._ids[slot, start:end] = ids
        self._lengths[slot] = end

    def keep(self, slot: int, tokens: int) -> None:
        """Of what a slot holds no more than so many tokens count."""
        self._lengths[slot] = min(self._lengths[slot], tokens)

    def copy(self, source: int, target: int, length: int) -> None:
        """So many tokens of a slot were copied."""
        self._ids[target, :length] = self._ids[source, :length]
        self._lengths[target], self._spaces[target] = length, self._spaces[source]

    def lose(self, slots: Collection[int]) -> None:
        """Nobody knows what these slots hold."""
        for slot in slots:
            self._lengths[slot] = 0

    def lose_all(self) -> None:
        """Nobody knows what any slot holds."""
        self.lose(range(len(self)))

    def give_back(self, slots: Sequence[int]) -> None:
        """Nobody owns these slots any more; what they hold stays until they are needed."""
        for slot in slots:
            self._clock += 1
            self._used[slot] = self._clock
