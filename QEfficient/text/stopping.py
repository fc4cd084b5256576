"""Strings that end a text: found in its pieces for whoever reads it, and in its tokens for what writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError
from QEfficient.text.replacing import overlap
from QEfficient.text.tokenizer import Tokenizer


class StopText:
    """Cuts a text that comes piece by piece before the first stop string.

    The first is the one whose last character comes first; of those that end together, the longest. So where the text is
    cut does not depend on the pieces. What may be the beginning of a stop string is held back until it is decided.

    Args:
        strings: The stop strings.

    Attributes:
        found: The stop string that the text was cut before; ``None`` as long as there is none.

    Raises:
        InputError: A stop string is empty, or no string.
    """

    def __init__(self, strings: str | Iterable[str]) -> None:
        self._strings = stop_strings(strings)
        self._held = ""
        self.found: str | None = None

    def put(self, piece: str) -> str:
        """The text that is decided with this piece; nothing any more once a stop string was found."""
        if self.found is not None:
            return ""
        text = self._held + piece
        ends = [(start + len(word), start, word) for word in self._strings if (start := text.find(word)) >= 0]
        if ends:
            _, start, self.found = min(ends)
            self._held = ""
            return text[:start]
        kept = len(text) - max([overlap(text, word) for word in self._strings], default=0)
        self._held = text[kept:]
        return text[:kept]

    def end(self) -> str:
        """What was held back: no stop string came of it."""
        held, self._held = self._held, ""
        return held


class StopTokens:
    """Says whether the last token of a sequence completes a stop string.

    Stop strings are looked for in what the tokens stand for, one after the other and special ones with them, across
    their borders and within them, and in the prompt's last tokens too as long as the end comes with a new token. This
    is what transformers' ``StopStringCriteria`` does. The token that completes one stays in the sequence.

    The answer depends on the ids alone, so beams and many sequences may ask one object in turn. It takes as long as the
    longest stop string has bytes, however long the sequence is.

    Args:
        tokenizer: What made the ids.
        strings: The stop strings.
        prompt: The ids before the first new token.

    Raises:
        InputError: A stop string is empty, or no string.
    """

    def __init__(self, tokenizer: Tokenizer, strings: str | Iterable[str], prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._strings = {word.encode(): word for word in stop_strings(strings)}
        self._reach = max(map(len, self._strings), default=1) - 1
        self._prompt = self._end_of(prompt, self._reach)

    def __call__(self, ids: Sequence[int] | NDArray[np.int64]) -> bool:
        """True when a stop string ends in the last of these new tokens."""
        return self.found(ids) is not None

    def found(self, ids: Sequence[int] | NDArray[np.int64]) -> str | None:
        """The stop string that ends in the last of these new tokens, if one does."""
        if len(ids) == 0:
            return None
        before = self._end_of(ids[:-1], self._reach)
        if len(before) < self._reach:
            before = self._prompt + before
        text = before + self._tokenizer.token_bytes(int(ids[-1]))
        for word, string in self._strings.items():
            if text.find(word, max(0, len(before) - len(word) + 1)) >= 0:
                return string
        return None

    def _end_of(self, ids: Sequence[int] | NDArray[np.int64], least: int) -> bytes:
        """The last bytes of what these stand for, at least so many where there are as many."""
        found, size = list[bytes](), 0
        for token in reversed(ids):
            if size >= least:
                break
            found.append(self._tokenizer.token_bytes(int(token)))
            size += len(found[-1])
        return b"".join(reversed(found))


def stop_strings(strings: str | Iterable[str]) -> tuple[str, ...]:
    """The stop strings, each once.

    Raises:
        InputError: One is empty, or no string.
    """
    found = [strings] if isinstance(strings, str) else list(strings)
    for word in found:
        if not isinstance(word, str) or not word:
            raise InputError(
                "A stop string is not a string with something in it.",
                got=f"{word!r} in {found!r:.200}",
                allowed="strings of at least one character",
                do="leave it out",
            )
    return tuple(dict.fromkeys(found))
