"""Tokens one at a time → pieces of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from QEfficient.text.decoders import steps
from QEfficient.text.replacing import CLEAN_UP, StreamedReplace
from QEfficient.text.tokenizer import Tokenizer


class TextStream:
    """Writes one text as its tokens come.

    The pieces, joined, are :meth:`Tokenizer.decode` of all tokens. A piece holds whole characters only, and nothing
    that a later token can change: what is not decided is held back until it is, at the end at the latest. A token takes
    the same time wherever in the text it stands.

    ``tokenizers.decoders.DecodeStream`` is not used: it has no end, so that half a character at the end is lost, it
    knows nothing of the clean-up of spaces, and of tokens for bytes it gives what a later one takes back.

    Args:
        tokenizer: What made the ids.
        skip_special_tokens: Leave special tokens out of the text.
        clean_up_tokenization_spaces: As :meth:`Tokenizer.decode` has it.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_tokens if skip_special_tokens else frozenset()
        self._decode = partial(
            tokenizer.decode,
            skip_special_tokens=skip_special_tokens,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
        )
        self._steps = steps(tokenizer.decoder)
        if self._steps is not None and tokenizer.cleans_up(clean_up_tokenization_spaces):
            self._steps += [StreamedReplace(old, new) for old, new in CLEAN_UP]
        self._held: list[int] = []  # all tokens, where the decoder decides nothing before the end

    def put(self, token: int) -> str:
        """The text that is decided with this token; often none.

        An id that the tokenizer has no token for is left out, as ``decode`` leaves it out.
        """
        if self._steps is None:
            self._held.append(token)
            return ""
        written = self._tokenizer.token(token)
        return "" if written is None or written in self._skipped else self._through([written], 0)

    def end(self) -> str:
        """The rest of the text."""
        if self._steps is None:
            tokens, self._held = self._held, []
            return self._decode(tokens)
        return "".join([self._through(step.end(), i + 1) for i, step in enumerate(self._steps)])

    def pieces(self, tokens: Iterable[int]) -> Iterator[str]:
        """The pieces of a whole text, none of them empty."""
        for token in tokens:
            if piece := self.put(token):
                yield piece
        if piece := self.end():
            yield piece

    def _through(self, tokens: Iterable[str], first: int) -> str:
        """What comes out behind the last step when these go into one."""
        for step in (self._steps or ())[first:]:
            tokens = [decided for token in tokens for decided in step.put(token)]
        return "".join(tokens)
