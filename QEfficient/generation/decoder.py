"""The seam between the engine and a program that keeps state: prompts and tokens in, logits out, slots in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.records import DecoderFacts


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens that go on in one slot.

    Attributes:
        slot: Which, from 0.
        ids: The tokens, one or more, without padding.
        start: Position of the first of them. What the slot holds from there on is overwritten.
        source: Of a model with an encoder, what it is to read first; what the slot holds of another is overwritten.
            Empty: the slot has its source.
    """

    slot: int
    ids: Sequence[int]
    start: int
    source: Sequence[int] = ()


class Decoder(Protocol):
    """A program that writes text, opened. One owner uses it at a time.

    After a :class:`QEfficient.errors.DeviceError` what every slot holds is lost: it has to be prefilled again.
    """

    facts: DecoderFacts

    def prefill(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Writes chunks of prompts, of at most ``prefill_len`` tokens each, into different slots.

        Returns:
            The logits behind each chunk's last token, ``(chunks, vocabulary)``.
        """
        ...

    def decode(self, rows: Sequence[Chunk]) -> NDArray[np.float32]:
        """One step of several sequences: at most ``decode_rows`` rows, in any order, of different slots.

        Each row has 1 to ``kept_logits`` tokens; all take the time of the longest.

        Returns:
            The logits behind every token, ``(rows, tokens, vocabulary)``: those of a shorter row are its last ones, and
            what stands before them means nothing.
        """
        ...

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        """Makes slot ``target`` hold what ``source`` does: all, or what its first ``length`` tokens need."""
        ...

    def read(self, slot: int) -> Arrays:
        """What a slot holds: name of a state input → array without the slots' axis, in the state's own dtype."""
        ...

    def write(self, slot: int, state: Arrays) -> None:
        """Puts back what :meth:`read` gave, here or in another session of the same program."""
        ...

    def clear(self, slot: int | None = None) -> None:
        """Zeroes a slot, or all. No sequence needs it: a slot is used from position 0 on without."""
        ...

    @property
    def bytes_held(self) -> int:
        """Bytes of all caches, the scratch slot's with them."""
        ...

    def close(self) -> None:
        """Frees the device."""
        ...
