"""The two sides of a translation model's tokenizer: what reads a source, and what writes a target. No transformers.

Most models have one tokenizer for both. Marian reads with one sentencepiece model and writes with another one's pieces;
mBART, M2M100 and NLLB put a token for the language beside the text. ``sides.json`` of a program says which it is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tokenizers import Encoding

from QEfficient.hub import read_object
from QEfficient.records import Json, TextFacts
from QEfficient.text.tokenizer import Tokenizer

SIDES = "sides.json"
WRITER = "target_tokenizer.json"
SOURCE, TARGET = "source", "target"
Place = Literal["row", "first", "start"]
"""Where the target's language is said: in the source's row; as the first token written; as the decoder's start."""

_OPEN, _CLOSE = ">>", "<<"


@dataclass(frozen=True, slots=True)
class TextSides:
    """What a tokenizer does around a source and a target.

    Attributes:
        writer: File name of the tokenizer that writes targets; ``None``: the one that reads sources.
        codes: Language → its token; empty where the model has no such tokens.
        before, after: What stands around a source: ids, and ``"source"`` or ``"target"`` for that language's token.
            Without ``codes`` the tokenizer knows it by itself.
        place: Where the target's language is said.
        source, target: The languages that the repo names as its own.
        coded: Whether what a text begins with is taken for a code where it looks like ``>>deu<<``.
        known: Ids from here on are of pieces that the source's sentencepiece model makes and the vocabulary lacks.
        unknown: The token for what the model does not know.
        ids_only: Why there is no tokenizer that works without transformers; empty where there is one.
    """

    writer: str | None = None
    codes: Mapping[str, int] = field(default_factory=dict)
    before: tuple[int | str, ...] = ()
    after: tuple[int | str, ...] = ()
    place: Place | None = None
    source: str | None = None
    target: str | None = None
    coded: bool = False
    known: int | None = None
    unknown: int = 0
    ids_only: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The sides that a caller chooses a language for."""
        around = (*self.before, *self.after)
        return tuple(
            side
            for side, chosen in ((SOURCE, SOURCE in around), (TARGET, TARGET in around or self.place is not None))
            if self.codes and chosen
        )


def read_sides(folder: Path) -> TextSides:
    """The sides that a program's folder names; without a file, one tokenizer for both and no languages.

    Raises:
        LoadError: The file is malformed.
    """
    content = read_object(folder / SIDES, missing_ok=True)
    for name in ("before", "after"):
        content[name] = tuple(content.get(name) or ())
    return TextSides(**content)


def save_sides(sides: TextSides, folder: Path) -> None:
    """Writes the file that :func:`read_sides` reads."""
    content: dict[str, Json] = dataclasses.asdict(sides)
    (folder / SIDES).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def writer_of(folder: Path, sides: TextSides, reader: Tokenizer) -> Tokenizer:
    """What writes targets.

    Args:
        folder: The program's.
        sides: As read.
        reader: What reads sources.

    Raises:
        LoadError: The file can't be read.
    """
    if sides.writer is None:
        return reader
    facts = TextFacts(
        tokenizer=sides.writer, max_length=reader.facts.max_length, clean_up_spaces=reader.facts.clean_up_spaces
    )
    return Tokenizer.from_folder(folder, facts)


class SourceReader:
    """Sources → ids, as transformers' tokenizer gives them.

    Args:
        tokenizer: What reads sources.
        sides: What stands around them.
        writer: What writes targets.
    """

    def __init__(self, tokenizer: Tokenizer, sides: TextSides, writer: Tokenizer) -> None:
        self._tokenizer, self._sides, self._writer = tokenizer, sides, writer

    def ids(self, text: str, languages: Mapping[str, str] | None = None) -> list[int]:
        """The ids of one source.

        Args:
            text: The source. Where models are told so, it may begin with the target's code: then that holds.
            languages: Side → language, of each side that has one to choose.

        Raises:
            InputError: It is no string, or not valid Unicode.
        """
        sides = self._sides
        code, rest = self.split(text)
        own = [] if code is None else [sides.codes.get(code, sides.unknown)]
        if not sides.codes:
            return [*own, *self._looked_up(self._tokenizer.encoding(rest))]
        body = self._looked_up(self._tokenizer.encoding(rest, add_special_tokens=False))
        before = self._around([one for one in sides.before if not (own and one == TARGET)], languages)
        return [*before, *own, *body, *self._around(sides.after, languages)]

    def split(self, text: str) -> tuple[str | None, str]:
        """The code that a text begins with, known or not, and the rest; ``None`` without one."""
        if self._sides.coded and text.startswith(_OPEN) and (end := text.find(_CLOSE)) >= 0:
            return text[len(_OPEN) : end], text[end + len(_CLOSE) :]
        return None, text

    def _around(self, places: Sequence[int | str], languages: Mapping[str, str] | None) -> list[int]:
        chosen = languages or {}
        return [
            self._sides.codes[chosen[one]] if isinstance(one, str) else one
            for one in places
            if not isinstance(one, str) or one in chosen
        ]

    def _looked_up(self, encoding: Encoding) -> list[int]:
        """Its ids. What the source's pieces have no id for may be a piece of the target's: one table is of both."""
        ids, known, unknown = list(encoding.ids), self._sides.known, self._sides.unknown
        if known is None or not any(one == unknown or one >= known for one in ids):
            return ids
        return [
            self._otherwise(piece) if one == unknown or one >= known else one
            for one, piece in zip(ids, encoding.tokens, strict=True)
        ]

    def _otherwise(self, piece: str) -> int:
        found = self._writer.id_of(piece)
        return self._sides.unknown if found is None else found
