"""Which tokens stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.compress.vocabulary.pieces import Pieces, fixed, with_their_parts
from QEfficient.errors import OptionError


@dataclass(frozen=True, slots=True)
class VocabularySize:
    """How many tokens are to stay.

    Attributes:
        min_count: How often a token stands in the texts at least.
        size: The most tokens that stay, of those the most frequent; ``None``: all.
    """

    min_count: int = 1
    size: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_count", arguments.positive("min_count", self.min_count, "occurrences"))
        if self.size is not None:
            object.__setattr__(self, "size", arguments.positive("size", self.size, "tokens"))


def choose(pieces: Pieces, counts: NDArray[np.int64], size: VocabularySize, also: Iterable[int] = ()) -> frozenset[int]:
    """The ids that stay: those that always do, and the frequent ones with all that they are merged of.

    Args:
        pieces: The tokenizer's.
        counts: How often each token stands in the texts.
        size: How many are to stay.
        also: Others that stay whatever their count.

    Raises:
        OptionError: ``size`` is less than what always stays.
    """
    kept = fixed(pieces)
    kept |= with_their_parts(pieces, also, kept)
    if size.size is not None and size.size < len(kept):
        raise OptionError(
            "So few tokens can't stay: special tokens, single characters or bytes, and what keep names always do.",
            got=f"size={size.size}",
            allowed=f"{len(kept)} or more",
            do="pass a greater size, or leave it out",
        )
    frequent = np.flatnonzero(counts >= size.min_count)
    for token in frequent[np.argsort(-counts[frequent], kind="stable")].tolist():
        more = with_their_parts(pieces, [token], kept)
        if size.size is None or len(kept) + len(more) <= size.size:  # another one may be made of fewer parts
            kept |= more
    return frozenset(kept)
