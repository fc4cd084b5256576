"""An answer's text, piece by piece, for ``for`` and ``async for``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Self

from QEfficient.errors import UsageError
from QEfficient.generation.call import Call
from QEfficient.generation.engine import Engine
from QEfficient.generation.program_parts import WritesText, vocabulary
from QEfficient.generation.strategy import Reason
from QEfficient.generation.tokenizing import GenerationTokenizer
from QEfficient.text.stopping import StopText


class AnswerStream:
    """What ``stream`` gives: iterate over it, once, for pieces of text.

    The pieces, joined, are the whole text: without special tokens, and without a stop string and what follows it. No
    piece is empty or holds a part of a character. Steps are made while somebody waits for a piece, of this stream or of
    another call. Leaving the loop, ``close()``, the end of a ``with`` block and the garbage collector end the answer.

    Args:
        engine: Runs it.
        call: How tokens are chosen; one sequence.
        prompt: Tokens of the prompt.
        loaded: The program.
        tokenizer: Makes text of tokens.

    Raises:
        InputError: The prompt, or a length that the caller named, does not fit.
        UsageError: There is more than one sequence.
    """

    def __init__(
        self,
        engine: Engine,
        call: Call,
        prompt: Sequence[int],
        loaded: WritesText,
        tokenizer: GenerationTokenizer,
    ) -> None:
        settings = call.settings
        if settings.num_beams * settings.num_return_sequences > 1:
            raise UsageError(
                "A stream is one answer.",
                got=f"num_beams={settings.num_beams}, num_return_sequences={settings.num_return_sequences}",
                allowed="1 of each",
                do="call stream once for each answer, or generate for beams",
            )
        [[request]] = call.requests([prompt], loaded.facts, vocabulary(loaded))
        self._pieces, self._cut = tokenizer.pieces(), StopText(settings.stop_strings)
        self._engine = engine
        self._ticket = engine.submit(request)
        self._text, self._ended = "", False
        # Neither knows this object, so that it is closed where nobody holds it any more.
        self._tokens, self._async_tokens = engine.stream(self._ticket), engine.astream(self._ticket)

    # ------------------------------------------------------------------------------------ what is known

    @property
    def ids(self) -> tuple[int, ...]:
        """The new tokens so far, an end token with them."""
        return tuple(self._ticket.tokens)

    @property
    def text(self) -> str:
        """The text that was given out so far."""
        return self._text

    @property
    def reason(self) -> Reason | None:
        """Why it ended: ``"stop"``, ``"length"`` or ``"cancelled"``; ``None``: it has not."""
        return self._ticket.reason

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Log-probability of each token, by the model's own distribution; empty without ``logprobs=``. At the end."""
        return self._ticket.answers[0].logprobs if self._ticket.answers else ()

    @property
    def top_logprobs(self) -> Sequence[dict[int, float]]:
        """For each token the likeliest in its place: token → log-probability. At the end."""
        return self._ticket.answers[0].top_logprobs if self._ticket.answers else ()

    # ------------------------------------------------------------------------------------ iterate

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for token in self._tokens:
            if piece := self._put(token):
                return piece
        if piece := self._end():
            return piece
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        async for token in self._async_tokens:
            if piece := self._put(token):
                return piece
        if piece := self._end():
            return piece
        raise StopAsyncIteration

    def _put(self, token: int) -> str:
        return self._given(self._cut.put(self._pieces.put(token)))

    def _end(self) -> str:
        if self._ended:
            return ""
        self._ended = True
        return self._given(self._cut.put(self._pieces.end()) + self._cut.end())

    def _given(self, piece: str) -> str:
        self._text += piece
        return piece

    # ------------------------------------------------------------------------------------ end

    def close(self) -> None:
        """Ends the answer, if it has not ended, as ``"cancelled"``. A second call does nothing."""
        if not self._ticket.done:
            self._engine.cancel(self._ticket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if "_ticket" in vars(self):  # else it was refused
            self.close()
