"""Strings that end a text: found in its pieces for whoever reads it, and in its tokens for what writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
    """Says of each new token of a sequence whether it completes a stop string.

    Stop strings are looked for in what the tokens stand for, one after the other and special ones with them, across
    their borders and within them, and in the prompt's last tokens too as long as the end comes with a new token. This
    is what transformers' ``StopStringCriteria`` does. The token that completes one stays in the sequence.

    Args:
        tokenizer: What made the ids.
        strings: The stop strings.
        prompt: The ids before the first new token.

    Attributes:
        found: The stop string that was found.

    Raises:
        InputError: A stop string is empty, or no string.
    """

    def __init__(self, tokenizer: Tokenizer, strings: str | Iterable[str], prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._strings = {word.encode(): word for word in stop_strings(strings)}
        self._reach = max(map(len, self._strings), default=1) - 1
        self.found: str | None = None
        self._tail = b""
        for token in prompt[len(prompt) - self._reach :] if self._reach < len(prompt) else prompt:
            self._tail = self._after(self._tail + tokenizer.token_bytes(token))

    def __call__(self, token: int) -> bool:
        """True when a stop string ends in this token."""
        before = len(self._tail)
        text = self._tail + self._tokenizer.token_bytes(token)
        self._tail = self._after(text)
        for word, string in self._strings.items():
            if text.find(word, max(0, before - len(word) + 1)) >= 0:
                self.found = string
                return True
        return False

    def _after(self, text: bytes) -> bytes:
        """As much of the text as a stop string may begin in."""
        return text[max(0, len(text) - self._reach) :]


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
