"""The tokenizer of a program that reads one text and writes another: one side for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from QEfficient.errors import LoadError
from QEfficient.generation.tokenizing import OwnTokenizer
from QEfficient.records import TextFacts
from QEfficient.text.sides import SourceReader, TextSides, read_sides, writer_of
from QEfficient.text.tokenizer import Tokenizer


class TwoSidedTokenizer(OwnTokenizer):
    """Reads sources with one side and writes targets with the other.

    Args:
        reader: What reads sources; it shortens nothing.
        writer: What writes targets.
        sides: What stands around them.
    """

    def __init__(self, reader: Tokenizer, writer: Tokenizer, sides: TextSides) -> None:
        super().__init__(writer)
        self.reader, self.sides = SourceReader(reader, sides, writer), sides

    @classmethod
    def from_folder(cls, folder: Path, facts: TextFacts) -> TwoSidedTokenizer:
        """A program's own.

        Args:
            folder: The program's.
            facts: Its text facts.

        Raises:
            LoadError: It takes ids only, or a file can't be read.
        """
        sides = read_sides(folder)
        if facts.tokenizer is None:
            why = sides.ids_only or "a model in memory has no tokenizer"
            raise LoadError(
                f"This program takes ids only, not texts: {why}.",
                got=str(folder),
                allowed="generate() with the ids that transformers.AutoTokenizer gives",
                do="tokenise with transformers, pass the ids to generate(), and decode what comes out",
            )
        reader = Tokenizer.from_folder(folder, facts)
        return cls(reader, writer_of(folder, sides, reader), sides)

    def ids(self, texts: Sequence[str], languages: Mapping[str, str] | None = None) -> list[list[int]]:
        """Tokens of each source.

        Args:
            texts: The sources.
            languages: As :meth:`QEfficient.text.sides.SourceReader.ids` takes them.
        """
        return [self.reader.ids(text, languages) for text in texts]
