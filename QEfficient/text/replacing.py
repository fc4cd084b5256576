"""Strings replaced and searched in a text that comes piece by piece."""

from __future__ import annotations

from collections.abc import Iterable

_CLEANED = ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"))
_CLITICS = ((" 's", "'s"), (" 've", "'ve"), (" 're", "'re"))
CLEAN_UP = (*_CLEANED, *_CLITICS)
"""What ``clean_up_tokenization_spaces`` replaces, one after the other, as transformers 5.24 does."""
_WORD_PIECE = (*_CLEANED, (" do not", " don't"), *_CLITICS)


class StreamedReplace:
    """``str.replace`` of a text that comes piece by piece.

    Args:
        old: What is replaced; not empty.
        new: What stands there instead.
    """

    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new
        self._held = ""

    def put(self, token: str) -> Iterable[str]:
        """The text but for its end where that may become ``old``."""
        *before, rest = (self._held + token).split(self._old)
        kept = len(rest) - overlap(rest, self._old)
        self._held = rest[kept:]
        return ("".join(part + self._new for part in before) + rest[:kept],)

    def end(self) -> Iterable[str]:
        """What was held back."""
        held, self._held = self._held, ""
        return (held,)


def overlap(text: str, word: str) -> int:
    """How many characters at the end of the text are a beginning of the word, and not all of it; the most."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0


def clean_up(token: str) -> str:
    """What the decoder ``WordPiece`` of tokenizers 0.23 does to each token where its ``cleanup`` is true."""
    return _replaced(token, _WORD_PIECE)


def clean_up_spaces(text: str) -> str:
    """A decoded text without the spaces that ``clean_up_tokenization_spaces`` takes away."""
    return _replaced(text, CLEAN_UP)


def _replaced(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text
