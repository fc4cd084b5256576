"""The decoders of the tokenizers library, one token at a time: what is decided comes out, the rest is held back.

A decoder of tokenizers 0.23 is a list of steps, from all tokens of a text to its characters. Each step here takes what
the step before has decided and gives what no later token can change; ``end`` gives the rest. What a step gives, in
order, is what the library's step gives of the whole.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from tokenizers import Regex
from tokenizers import decoders as library

from QEfficient.text.replacing import StreamedReplace, clean_up

_BYTE = re.compile(r"<0x([0-9a-fA-F]{2}|\+[0-9a-fA-F])>")  # Rust reads "+5" as a number too


class DecoderStep(Protocol):
    """One step: tokens in, tokens out; behind a step that fuses them, pieces of the one token that is left."""

    def put(self, token: str) -> Iterable[str]:
        """What is decided now."""
        ...

    def end(self) -> Iterable[str]:
        """What was held back."""
        ...


class EachToken:
    """A step that looks at one token alone, and at whether it is the first.

    Args:
        later: What it does.
        first: What it does to the first; the same when left out.
    """

    def __init__(self, later: Callable[[str], str], first: Callable[[str], str] | None = None) -> None:
        self._next = first or later
        self._later = later

    def put(self, token: str) -> Iterable[str]:
        """The token as it is written."""
        text = self._next(token)
        self._next = self._later
        return (text,)

    def end(self) -> Iterable[str]:
        """Nothing."""
        return ()


class Bytes:
    """``ByteLevel``: characters that stand for bytes. A character comes out when its last byte is there.

    Bytes that are no UTF-8 come out as U+FFFD, as many as Rust's ``from_utf8_lossy`` gives; Python counts them alike.
    """

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def put(self, token: str) -> Iterable[str]:
        """The characters that are whole."""
        data = _level_bytes(token)
        return (self._decode(token.encode() if data is None else data),)  # an added token stands for itself

    def end(self) -> Iterable[str]:
        """What is left of a character, as U+FFFD."""
        return (self._decode(b"", True),)


class ByteTokens:
    """``ByteFallback``: tokens ``<0x41>``. A run of them is one text or, when it is no UTF-8, U+FFFD for each token.

    So a run is decided when it ends.
    """

    def __init__(self) -> None:
        self._run = bytearray()

    def put(self, token: str) -> Iterable[str]:
        """The token, and before it the run that it ends."""
        found = _BYTE.fullmatch(token)
        if found is None:
            return (*self.end(), token)
        self._run.append(int(found[1], 16))
        return ()

    def end(self) -> Iterable[str]:
        """The run."""
        if not self._run:
            return ()
        run, self._run = self._run, bytearray()
        try:
            return (run.decode(),)
        except UnicodeDecodeError:
            return ("\ufffd",) * len(run)


class WordEnds:
    """``BPEDecoder``: a suffix marks the end of a word, and is a space but for the last token of the text.

    Args:
        suffix: The suffix.
    """

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._last: str | None = None

    def put(self, token: str) -> Iterable[str]:
        """The token before."""
        before, self._last = self._last, token
        return () if before is None else (before.replace(self._suffix, " "),)

    def end(self) -> Iterable[str]:
        """The last token."""
        last, self._last = self._last, None
        return () if last is None else (last.replace(self._suffix, ""),)


class StrippedEnds:
    """``Strip`` behind a step that fuses: characters are taken away at both ends of the text.

    Args:
        content: The character.
        start: How many at most at the start.
        stop: How many at most at the end; so many are held back.
    """

    def __init__(self, content: str, start: int, stop: int) -> None:
        self._content, self._start, self._stop = content, start, stop
        self._held = ""

    def put(self, token: str) -> Iterable[str]:
        """The text but for the characters that may be its last."""
        while self._start and token.startswith(self._content):
            token, self._start = token[1:], self._start - 1
        if not token:
            return ()
        self._start = 0
        token = self._held + token
        last = min(len(token) - len(token.rstrip(self._content)), self._stop)
        self._held = token[len(token) - last :]
        return (token[: len(token) - last],)

    def end(self) -> Iterable[str]:
        """Nothing: what was held back is what is taken away."""
        return ()


def steps(decoder: Mapping[str, Any] | None) -> list[DecoderStep] | None:
    """The steps of a decoder; ``None`` where what a token becomes can depend on all that follow.

    Args:
        decoder: ``decoder`` of a ``tokenizer.json``; ``None`` where it has none, which puts spaces between tokens.
    """
    if decoder is None:
        return [EachToken(lambda token: " " + token, lambda token: token)]
    found: list[DecoderStep] = []
    fused = False
    for one in _flat(decoder):
        kind = one["type"]
        step = _fused_step(kind, one) if fused else _step(kind, one)
        if step is None:
            return None
        found += step
        fused = fused or kind in ("ByteLevel", "Fuse")
    return found


def token_bytes(token: str, decoder: Mapping[str, Any] | None) -> bytes | None:
    """What a token stands for where it is written in bytes; ``None`` for any other."""
    kinds = {one["type"] for one in _flat(decoder)} if decoder is not None else set[str]()
    if "ByteFallback" in kinds:
        found = _BYTE.fullmatch(token)
        return None if found is None else bytes([int(found[1], 16)])
    return _level_bytes(token) if "ByteLevel" in kinds else None


def _level_bytes(token: str) -> bytes | None:
    """The bytes that the characters of a token of byte-level BPE stand for, if all do."""
    try:
        return bytes([_BYTES[character] for character in token])
    except KeyError:
        return None


def _flat(decoder: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if decoder["type"] != "Sequence":
        return [decoder]
    return [step for part in decoder["decoders"] for step in _flat(part)]


def _step(kind: str, facts: Mapping[str, Any]) -> list[DecoderStep] | None:
    """A step that sees tokens."""
    match kind:
        case "ByteLevel":
            return [Bytes()]
        case "ByteFallback":
            return [ByteTokens()]
        case "BPEDecoder":
            return [WordEnds(facts["suffix"])] if facts["suffix"] else None
        case "Metaspace":
            mark = facts["replacement"]
            first = " " if facts["prepend_scheme"] == "never" else ""
            return [EachToken(lambda token: token.replace(mark, " "), lambda token: token.replace(mark, first))]
        case "WordPiece":
            prefix, clean = facts["prefix"], clean_up if facts["cleanup"] else str
            return [EachToken(lambda token: clean(_after(prefix, token)), clean)]
        case "Fuse":
            return []
        case "Replace":
            return [EachToken(_applied(library.Replace(_pattern(facts["pattern"]), facts["content"])))]
        case "Strip":
            return [EachToken(_applied(library.Strip(facts["content"], facts["start"], facts["stop"])))]
    return None


def _fused_step(kind: str, facts: Mapping[str, Any]) -> list[DecoderStep] | None:
    """A step that sees one token only, the whole text."""
    if kind == "Fuse":
        return []
    if kind == "Strip":
        return [StrippedEnds(facts["content"], facts["start"], facts["stop"])]
    if kind == "Replace" and facts["pattern"].get("String"):
        return [StreamedReplace(facts["pattern"]["String"], facts["content"])]
    return None


def _after(prefix: str, token: str) -> str:
    """A token of WordPiece that is not the first: it goes on a word, or begins one."""
    return token[len(prefix) :] if token.startswith(prefix) else " " + token


def _pattern(pattern: Mapping[str, str]) -> Any:
    return Regex(pattern["Regex"]) if "Regex" in pattern else pattern["String"]


def _applied(decoder: Any) -> Callable[[str], str]:
    """The library's own step, of one token."""
    return lambda token: decoder.decode([token])


def _byte_characters() -> dict[str, int]:
    """Which byte a character of byte-level BPE stands for: printable ones for themselves, the rest from U+0100 on.

    As GPT-2's ``bytes_to_unicode``.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(rest)}


_BYTES = _byte_characters()
