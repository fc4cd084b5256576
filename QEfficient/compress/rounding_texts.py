"""What a decoder's weights are rounded for: texts such as it reads, as tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from QEfficient.records import Json


@dataclass(frozen=True, slots=True)
class RoundingTexts:
    """Texts as ids.

    Attributes:
        rows: Ids of each.
        own: How many of them are the caller's.
    """

    rows: tuple[tuple[int, ...], ...]
    own: int = 0

    @property
    def tokens(self) -> int:
        """Of all texts."""
        return sum(map(len, self.rows))

    @property
    def digest(self) -> str:
        """SHA-256 of all ids, in hex."""
        found = hashlib.sha256()
        for row in self.rows:
            found.update(np.array([len(row), *row], "<i8").tobytes())
        return found.hexdigest()

    def to_json(self) -> dict[str, Json]:
        """For the manifest."""
        return {"texts": len(self.rows), "own_texts": self.own, "tokens": self.tokens, "digest": self.digest}
