"""How well a program predicts texts: perplexity, with decode steps over all rows at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.errors import InputError, UsageError
from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request, Ticket
from QEfficient.generation.strategy import Answer, NextTokens, Reason


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well texts were predicted. ``float(found)`` is :attr:`value`.

    Attributes:
        losses: Of each text, the sum of −log p (natural) of its predicted tokens.
        tokens: Of each text, how many were predicted.
    """

    losses: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def value(self) -> float:
        """Of all texts together: exp of the sum of all losses over the number of all predicted tokens."""
        return math.exp(sum(self.losses) / sum(self.tokens))

    @property
    def per_text(self) -> tuple[float, ...]:
        """Of each text: exp of its loss over its number of predicted tokens."""
        return tuple(math.exp(loss / count) for loss, count in zip(self.losses, self.tokens, strict=True))

    def __float__(self) -> float:
        return self.value


class KnownText:
    """A strategy that chooses nothing: its next tokens are known, and it adds up how likely they were.

    Args:
        ids: The tokens behind the prompt, one or more.

    Attributes:
        rows: 1.
        loss: The sum of −log p of those that the model has predicted so far, in float64.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.rows, self.loss = 1, 0.0
        self._ids, self._seen = ids, 0

    def advance(self, logits: NDArray[np.float32]) -> NextTokens:
        """The next known token."""
        row = logits[0].astype(np.float64)
        top = row.max()
        token = self._ids[self._seen]
        self.loss += float(np.log(np.exp(row - top).sum()) + top - row[token])
        self._seen += 1
        return NextTokens((0,), (token,), "length" if self._seen == len(self._ids) else None)

    def answers(self, reason: Reason | None = None) -> tuple[Answer, ...]:
        """The text that was known."""
        return (Answer(tuple(self._ids[: self._seen]), reason or "length"),)


def perplexity(engine: Engine, rows: Sequence[Sequence[int]], *, stride: int | None = None) -> Perplexity:
    """Perplexity of texts.

    A text longer than the program's room is cut into windows of that many tokens, each ``stride`` behind the last.
    Each token is predicted once, in the first window that holds it, from what stands before it in that window; the
    first token of a text, and of a window that shares none with the one before, is not predicted. So HuggingFace's
    guide has it ("Perplexity of fixed-length models"), with a mean over windows; here every token counts the same.

    Args:
        engine: Runs windows as requests beside whatever else it runs: what comes before the first token that is
            predicted as a prompt, then one step a token, of as many windows at once as there are rows.
        rows: Tokens of each text, two or more.
        stride: Tokens from one window's start to the next one's; left out, the room: windows share nothing.

    Raises:
        InputError: A text has fewer than two tokens.
        UsageError: ``stride`` is out of range.
        DeviceError: The device failed.
    """
    step = _stride(stride, engine.facts.room)
    for place, ids in enumerate(rows):
        if len(ids) < 2:
            raise InputError(
                f"Text {place} has nothing to predict.",
                got=f"{len(ids)} token" + "s" * (len(ids) != 1),
                allowed="two tokens or more",
                do="drop it",
            )
    losses, tokens = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    windows = ((place, window) for place, ids in enumerate(rows) for window in _windows(ids, engine.facts.room, step))
    running: deque[tuple[int, KnownText, Ticket]] = deque()
    try:
        for place, (context, known) in windows:
            strategy = KnownText(known)
            running.append((place, strategy, engine.submit(_request(context, strategy, len(known)))))
            tokens[place] += len(known)
            if len(running) == 2 * engine.facts.decode_rows:  # so that no row waits for this loop
                _finish(engine, running, losses)
        while running:
            _finish(engine, running, losses)
    finally:
        for *_, ticket in running:
            engine.cancel(ticket)
    return Perplexity(tuple(losses.tolist()), tuple(tokens.tolist()))


def _request(context: Sequence[int], strategy: KnownText, wanted: int) -> Request:
    return Request(tuple(context), strategy, wanted, patient=True)


def _finish(engine: Engine, running: deque[tuple[int, KnownText, Ticket]], losses: NDArray[np.float64]) -> None:
    """Takes in the loss of the window that began first."""
    place, strategy, ticket = running[0]
    engine.run_until(ticket)
    running.popleft()
    losses[place] += strategy.loss


def _stride(stride: int | None, room: int) -> int:
    if stride is None:
        return room
    number = arguments.whole(stride)
    if number is None or not 1 <= number <= room:
        raise UsageError(
            "stride is out of range.",
            got=f"stride={stride!r}",
            allowed=f"1 to {room}, the tokens that a window holds",
            do="leave it out: windows then share nothing",
        )
    return number


def _windows(ids: Sequence[int], room: int, step: int) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """For each window what comes before the tokens that are predicted in it, and these."""
    seen = 0
    for start in range(0, len(ids), step):
        end = min(start + room, len(ids))
        first = max(seen, start + 1)
        if first < end:
            yield ids[start:first], ids[first:end]
        seen = end
        if seen == len(ids):
            return
