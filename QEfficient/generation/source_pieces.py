"""Sources that are read whole, and those that are too long: refused, or cut between sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from QEfficient.errors import InputError
from QEfficient.text.sentences import sentences

_SHOWN = 5
Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class SourcePiece:
    """A source that is read at once.

    Attributes:
        owner: The text that it is of, by its place.
        ids: Its tokens.
    """

    owner: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReadText:
    """A text, as it is to be read.

    Attributes:
        head: What stands before it, and before each of its pieces: a task's prefix, or a language's code.
        text: The rest.
    """

    head: str
    text: str


def pieces_of(sources: Sequence[ReadText], encode: Encode, limit: int, *, split: bool) -> list[SourcePiece]:
    """The pieces of all texts, in order; a text without a word has none.

    A text that is too long is cut into as long runs of whole sentences as fit.

    Args:
        sources: The texts.
        encode: Text → its tokens, special ones among them.
        limit: Tokens that are read at once.
        split: Cut texts that are too long; else they are refused.

    Raises:
        InputError: A text is too long, or with ``split`` a single sentence is. All that are too long are counted.
    """
    found: list[SourcePiece] = []
    long: list[tuple[int, int]] = []
    for row, source in enumerate(sources):
        if not source.text.strip():
            continue
        ids = encode(source.head + source.text)
        if len(ids) <= limit:
            found.append(SourcePiece(row, tuple(ids)))
        elif split:
            found += [SourcePiece(row, tuple(part)) for part in _runs(source, row, encode, limit)]
        else:
            long.append((row, len(ids)))
    if long:
        raise _too_long(long, len(sources), limit)
    return found


def _runs(source: ReadText, row: int, encode: Encode, limit: int) -> list[list[int]]:
    parts, found, start = sentences(source.text), [], 0
    while start < len(parts):
        ids = encode(source.head + parts[start].strip())
        if len(ids) > limit:
            raise InputError(
                "A sentence is longer than the program reads at once.",
                got=f"sentence {start} of text {row} has {len(ids)} tokens: {parts[start].strip()!r:.60}",
                allowed=f"at most {limit} tokens, special ones included (encoder_ctx_len)",
                do="shorten it, or compile with a larger encoder_ctx_len if the model has room",
            )
        end = start + 1
        while end < len(parts):
            more = encode(source.head + "".join(parts[start : end + 1]).strip())
            if len(more) > limit:
                break
            ids, end = more, end + 1
        found.append(ids)
        start = end
    return found


def _too_long(long: Sequence[tuple[int, int]], count: int, limit: int) -> InputError:
    named = ", ".join(f"text {row} has {length} tokens" for row, length in long[:_SHOWN])
    return InputError(
        f"{len(long)} of {count} texts are longer than the program reads at once.",
        got=named + (", …" if len(long) > _SHOWN else ""),
        allowed=f"at most {limit} tokens, special ones included (encoder_ctx_len)",
        do="pass overlong='split' to cut them between sentences, shorten them, or compile with a larger "
        "encoder_ctx_len if the model has room",
    )
