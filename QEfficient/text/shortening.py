"""Which tokens of a row stay when it is shortened, as transformers does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding


def sequences(encoding: Encoding) -> NDArray[np.int64]:
    """Which text each token comes from: 0 or 1; -1 for the special tokens that the tokenizer adds."""
    return np.array([-1 if part is None else part for part in encoding.sequence_ids], dtype=np.int64)


def kept(encoding: Encoding, limit: int, *, from_end: bool) -> NDArray[np.intp]:
    """Positions that stay when a row is shortened: all special tokens, and the start or the end of each text."""
    parts = sequences(encoding)
    special, first, second = (np.flatnonzero(parts == part) for part in (-1, 0, 1))
    n_first, n_second = _longest_first(len(first), len(second), limit - len(special))
    if from_end:
        first, second = first[len(first) - n_first :], second[len(second) - n_second :]
    return np.sort(np.concatenate([special, first[:n_first], second[:n_second]]))


def _longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Lengths of two texts that share ``room`` tokens: the longer gives first, then both get half.

    The odd token goes to the longer text, to the second one when they are equal: as tokenizers' ``longest_first``.
    """
    short, long = sorted((first, second))
    long = min(long, max(short, room - short))
    if short + long > room:
        short, long = room // 2, room // 2 + room % 2
    return (short, long) if first <= second else (long, short)
