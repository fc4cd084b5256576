"""A tokenizer as generation needs it: the program's own, or one that the caller has, which is never altered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from tokenizers import Tokenizer as FastTokenizer

from QEfficient.errors import UsageError
from QEfficient.generation.stopping import Stop
from QEfficient.records import TextFacts
from QEfficient.text.stopping import StopTokens
from QEfficient.text.streaming import TextStream
from QEfficient.text.tokenizer import Tokenizer

_NO_LIMIT = 10**9


class TextPieces(Protocol):
    """One text as its tokens come; see :class:`QEfficient.text.streaming.TextStream`."""

    def put(self, token: int) -> str:
        """The text that is decided with this token."""
        ...

    def end(self) -> str:
        """The rest of the text."""
        ...


class GenerationTokenizer(Protocol):
    """What generation asks of a tokenizer."""

    @property
    def fast(self) -> Tokenizer:
        """The tokenizer, or a copy of the caller's, as the text room has it.

        Raises:
            UsageError: The caller's has no fast form.
        """
        ...

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, special ones as the model has them before a prompt."""
        ...

    def text(self, ids: Iterable[int]) -> str:
        """The text of ids, without special tokens."""
        ...

    def pieces(self) -> TextPieces:
        """A new text that is written token by token, without special tokens."""
        ...

    def stop(self, strings: Sequence[str], prompt: Sequence[int]) -> Stop:
        """What tells whether a stop string is complete with the last of some new tokens."""
        ...


class OwnTokenizer:
    """The program's own.

    Args:
        tokenizer: It shortens nothing.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.fast = tokenizer

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text."""
        return [self.fast.ids(text) for text in texts]

    def text(self, ids: Iterable[int]) -> str:
        """The text of ids."""
        return self.fast.decode(ids, skip_special_tokens=True)

    def pieces(self) -> TextPieces:
        """A new text."""
        return TextStream(self.fast)

    def stop(self, strings: Sequence[str], prompt: Sequence[int]) -> Stop:
        """As transformers' ``StopStringCriteria``."""
        return StopTokens(self.fast, strings, prompt)


class CallersTokenizer:
    """One of transformers' or of the tokenizers library.

    It is called as its owner would call it, without padding and truncation; texts are written with a copy of it.

    Args:
        tokenizer: It.
    """

    def __init__(self, tokenizer: Any) -> None:
        fast = tokenizer if isinstance(tokenizer, FastTokenizer) else getattr(tokenizer, "backend_tokenizer", None)
        self._call = tokenizer
        self._copy: Tokenizer | None = None
        if isinstance(fast, FastTokenizer):
            cleans = getattr(tokenizer, "clean_up_tokenization_spaces", None) is True
            facts = TextFacts(tokenizer=None, max_length=_NO_LIMIT, clean_up_spaces=cleans)
            self._copy = Tokenizer(FastTokenizer.from_str(fast.to_str()), facts)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, as a call of the tokenizer gives them."""
        if isinstance(self._call, FastTokenizer) and self._copy is not None:
            return OwnTokenizer(self._copy).ids(texts)
        found = [self._call(text)["input_ids"] for text in texts]  # one by one: nothing to pad
        return [list(map(int, ids)) for ids in found]

    def text(self, ids: Iterable[int]) -> str:
        """The text of ids, as its ``decode`` gives it."""
        return str(self._call.decode(list(ids), skip_special_tokens=True))

    def pieces(self) -> TextPieces:
        """A new text."""
        return WholeText(self) if self._copy is None else TextStream(self._copy)

    def stop(self, strings: Sequence[str], prompt: Sequence[int]) -> Stop:
        """As transformers' ``StopStringCriteria``."""
        return OwnTokenizer(self.fast).stop(strings, prompt)

    @property
    def fast(self) -> Tokenizer:
        """A copy of it.

        Raises:
            UsageError: It has no fast form.
        """
        if self._copy is None:
            raise UsageError(
                "Stop strings and grammars need a fast tokenizer.",
                got=type(self._call).__name__,
                allowed="a tokenizer that has backend_tokenizer, or none: the program's own is used",
                do="leave tokenizer out",
            )
        return self._copy


class WholeText:
    """TextPieces of a tokenizer that has no fast form: all tokens are decoded again with each.

    Args:
        tokenizer: It.
    """

    def __init__(self, tokenizer: CallersTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._given = ""

    def put(self, token: int) -> str:
        """The text that is new, unless it ends within a character or changes what was given."""
        self._ids.append(token)
        text = self._tokenizer.text(self._ids)
        if text.endswith("\ufffd") or not text.startswith(self._given):
            return ""
        piece, self._given = text[len(self._given) :], text
        return piece

    def end(self) -> str:
        """The rest."""
        text = self._tokenizer.text(self._ids)
        return text[len(self._given) :]
