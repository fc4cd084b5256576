"""Caches in blocks, as ``records.paged`` has them: what a call becomes, and how a slot's blocks hold its positions.

A slot has its blocks for good, side by side: ``(blocks, heads, BLOCK, width)``. So they need no table, take memory as
they are written, and are read and written as any other slot is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.backends.slot_runs import Inputs, Piece
from QEfficient.records import INPUT_IDS, POSITION_IDS
from QEfficient.records.paged import (
    BLOCK,
    BLOCK_BEGINS,
    BLOCKS,
    LOGIT_ROWS,
    LONGEST,
    PAST_LENS,
    SEQUENCE_BEGINS,
)


def blocks_of(positions: int) -> int:
    """Blocks that hold so many positions."""
    return -(-positions // BLOCK)


@dataclass(frozen=True, slots=True)
class PagedRun:
    """One run: some pieces of a call, each with the states that it reads and writes.

    Attributes:
        arrays: What the graph is given, but for the caches.
        rows: Of each piece, the call's row that it is of.
        counts: Of each piece, at how many of its last tokens there are logits.
    """

    arrays: Arrays
    rows: tuple[int, ...]
    counts: tuple[int, ...]


def paged_run(pieces: Sequence[Piece], arrays: Inputs, kept: int, blocks: int) -> PagedRun:
    """A run of pieces of different slots.

    Args:
        pieces: At least one.
        arrays: The call's.
        kept: Last tokens of each that there are to be logits of, as many as it has.
        blocks: Of each slot.
    """
    past = np.array([piece.start for piece in pieces])
    lengths = np.array([len(piece.columns) for piece in pieces])
    ends, used = past + lengths, blocks_of_all(past + lengths)
    begins, counts = _begins(lengths), np.minimum(lengths, kept)
    slots = [piece.slot * blocks for piece in pieces]
    found = {
        INPUT_IDS: np.concatenate([arrays[INPUT_IDS][piece.row, piece.columns] for piece in pieces])[:, None],
        POSITION_IDS: _ranges(past, lengths)[:, None].astype(arrays[POSITION_IDS].dtype),
        LOGIT_ROWS: _ranges(begins[1:] - counts, counts),
        PAST_LENS: past.astype(np.int32),
        SEQUENCE_BEGINS: begins.astype(np.int32),
        BLOCKS: _ranges(slots, used).astype(np.int32),
        BLOCK_BEGINS: _begins(used).astype(np.int32),
        LONGEST: np.array(ends.max(), np.int32),
    }
    return PagedRun(found, tuple(piece.row for piece in pieces), tuple(counts.tolist()))


def blocks_of_all(positions: NDArray[np.intp]) -> NDArray[np.intp]:
    """As :func:`blocks_of`, of each."""
    return -(-positions // BLOCK)


def _begins(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where each part of so many begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)])


def _ranges(starts: Sequence[int] | NDArray[np.intp], lengths: NDArray[np.intp]) -> NDArray[np.int64]:
    """Numbers from each start on, so many of each."""
    pairs = zip(starts, lengths, strict=True)
    return np.concatenate([np.arange(start, start + length) for start, length in pairs])


# ---------------------------------------------------------------------------------------------- a slot's blocks


def read_blocks(held: NDArray[np.generic], positions: int) -> NDArray[np.generic]:
    """A slot's blocks as ``(heads, positions, width)``, a copy."""
    blocks, heads, size, width = held.shape
    return held.swapaxes(0, 1).reshape(heads, blocks * size, width)[:, :positions].copy()


def write_blocks(held: NDArray[np.generic], state: NDArray[np.generic]) -> None:
    """Makes a slot's blocks hold ``state``, ``(heads, positions, width)``."""
    heads, positions, width = state.shape
    whole, rest = divmod(positions, BLOCK)
    held[:whole] = state[:, : whole * BLOCK].reshape(heads, whole, BLOCK, width).swapaxes(0, 1)
    if rest:
        held[whole, :, :rest] = state[:, whole * BLOCK :]


def copy_blocks(source: NDArray[np.generic], target: NDArray[np.generic], positions: int) -> None:
    """Makes a slot's blocks hold another one's first positions."""
    whole, rest = divmod(positions, BLOCK)
    target[:whole] = source[:whole]
    if rest:
        target[whole, :, :rest] = source[whole, :, :rest]


# ---------------------------------------------------------------------------------------------- bf16 in numpy


def as_bf16(numbers: NDArray[np.float32]) -> NDArray[np.uint16]:
    """float32 rounded to bf16, to even; numpy has no such dtype."""
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(numbers), np.uint16(0x7FC0), rounded)


def from_bf16(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The same numbers in float32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
