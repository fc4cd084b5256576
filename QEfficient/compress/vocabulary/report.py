"""What the pruning of a vocabulary came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from QEfficient.compress.vocabulary.counts import LostTokens
from QEfficient.records import Json

_SHOWN = 20  # lost tokens that are written down

NO_GAIN = "It gains no speed: a program reads the same number of rows of a smaller table."


@dataclass(frozen=True, slots=True)
class VocabularyReport:
    """What a pruned vocabulary has left, and what texts that it was not chosen for lose.

    Attributes:
        tokens_before, tokens_after: Rows of the word table.
        table_bytes_before, table_bytes_after: Of the word table in memory, and of a head over words where there is one.
        parameters_before, parameters_after: Of the whole model.
        measured_on: What the texts of the next figures are: ``"eval"``; ``"a tenth of data"``, read with the tokens of
            the other nine, where no ``eval`` was given; ``""`` where neither could be had.
        texts: How many.
        touched: How many of them lose a token: these split it into smaller pieces, and get other vectors than before.
        tokens_read, tokens_lost: Their tokens, special ones aside, and how many of these are lost.
        most_lost: The most frequent lost tokens with their counts.
    """

    tokens_before: int
    tokens_after: int
    table_bytes_before: int
    table_bytes_after: int
    parameters_before: int
    parameters_after: int
    measured_on: str = ""
    texts: int = 0
    touched: int = 0
    tokens_read: int = 0
    tokens_lost: int = 0
    most_lost: tuple[tuple[str, int], ...] = ()

    @property
    def share_of_table(self) -> float:
        """What is left of the word table, from 0 to 1."""
        return self.tokens_after / self.tokens_before

    @property
    def share_of_parameters(self) -> float:
        """What is left of the whole model, from 0 to 1."""
        return self.parameters_after / self.parameters_before

    @property
    def share_touched(self) -> float | None:
        """The share of texts that lose a token; ``None`` where none were asked."""
        return self.touched / self.texts if self.texts else None

    def to_dict(self) -> dict[str, Json]:
        """For JSON."""
        return asdict(self) | {"most_lost": [list(one) for one in self.most_lost]}

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> VocabularyReport:
        """As :meth:`to_dict` gave it; a model's record has it as what its step ``made``."""
        return cls(**{**found, "most_lost": tuple((str(name), int(count)) for name, count in found["most_lost"])})

    def __str__(self) -> str:
        before, after = self.table_bytes_before / 1e6, self.table_bytes_after / 1e6
        lines = [
            f"tokens: {self.tokens_before} before, {self.tokens_after} after ({self.share_of_table:.1%})",
            f"tables over words: {before:.1f} MB before, {after:.1f} MB after",
            f"parameters of the whole model: {self.parameters_before} before, {self.parameters_after} after "
            f"({self.share_of_parameters:.1%})",
        ]
        if self.texts:
            lost = self.tokens_lost / self.tokens_read if self.tokens_read else 0.0
            lines.append(
                f"held-out texts that lose a token: {self.touched} of {self.texts} ({self.touched / self.texts:.1%}), "
                f"measured on {self.measured_on}; {lost:.2%} of their tokens"
            )
        if self.most_lost:
            lines.append("most often lost: " + ", ".join(f"{name} ({count})" for name, count in self.most_lost[:10]))
        return "\n".join([*lines, NO_GAIN])


def lost_as_fields(measured_on: str, lost: LostTokens | None) -> dict[str, Any]:
    """The fields of a report that say what texts lose; none where no text was asked."""
    if lost is None:
        return {}
    return {
        "measured_on": measured_on,
        "texts": lost.texts,
        "touched": len(lost.touched),
        "tokens_read": lost.tokens,
        "tokens_lost": sum(count for _, count in lost.lost),
        "most_lost": lost.lost[:_SHOWN],
    }
