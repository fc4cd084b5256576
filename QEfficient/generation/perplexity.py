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
from QEfficient.generation.decoder import Chunk, Decoder


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


@dataclass(slots=True)
class _Window:
    """A part of a text that fits the caches.

    Attributes:
        text: Which text.
        ids: Its tokens.
        fed: How many of them the caches hold.
        context: How many come before the first whose logits are wanted.
    """

    text: int
    ids: Sequence[int]
    context: int
    fed: int = 0

    @property
    def left(self) -> int:
        """Tokens to feed: the last one is only predicted."""
        return len(self.ids) - 1 - self.fed


def perplexity(decoder: Decoder, rows: Sequence[Sequence[int]], *, stride: int | None = None) -> Perplexity:
    """Perplexity of texts.

    A text longer than the program's room is cut into windows of that many tokens, each ``stride`` behind the last.
    Each token is predicted once, in the first window that holds it, from what stands before it in that window; the
    first token of a text, and of a window that shares none with the one before, is not predicted. So HuggingFace's
    guide has it ("Perplexity of fixed-length models"), there with a mean over windows; here every token counts the same.

    Args:
        decoder: Nobody else may use it meanwhile.
        rows: Tokens of each text, two or more.
        stride: Tokens from one window's start to the next one's; left out, the room: windows share nothing.

    Raises:
        InputError: A text has fewer than two tokens.
        UsageError: ``stride`` is out of range.
        DeviceError: The device failed.
    """
    facts = decoder.facts
    step = _stride(stride, facts.room)
    for place, ids in enumerate(rows):
        if len(ids) < 2:
            raise InputError(
                f"Text {place} has nothing to predict.",
                got=f"{len(ids)} token" + "s" * (len(ids) != 1),
                allowed="two tokens or more",
                do="drop it",
            )
    losses, tokens = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    waiting = deque(window for place, ids in enumerate(rows) for window in _windows(place, ids, facts.room, step))
    running: dict[int, _Window] = {}
    while waiting or running:
        for slot in range(min(facts.decode_rows, facts.cache_slots)):
            if slot not in running and waiting:
                running[slot] = waiting.popleft()
        _feed_context(decoder, running)
        for text, loss, count in _advance(decoder, running):
            losses[text] += loss
            tokens[text] += count
    return Perplexity(tuple(losses.tolist()), tuple(tokens.tolist()))


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


def _windows(text: int, ids: Sequence[int], room: int, step: int) -> Iterator[_Window]:
    seen = 0  # tokens of the text that are predicted, or were the first of a window
    for start in range(0, len(ids), step):
        part = ids[start : start + room]
        context = max(seen - start - 1, 0)
        if len(part) - 1 - context > 0:
            yield _Window(text, part, context)
        seen = start + len(part)
        if seen == len(ids):
            return


def _feed_context(decoder: Decoder, running: dict[int, _Window]) -> None:
    """Writes what comes before the first token that is predicted, in chunks."""
    while True:
        chunks = []
        for slot, window in running.items():
            if window.fed < window.context:
                end = min(window.context, window.fed + decoder.facts.prefill_len)
                chunks.append(Chunk(slot, window.ids[window.fed : end], window.fed))
                window.fed = end
        if not chunks:
            return
        decoder.prefill(chunks)


def _advance(decoder: Decoder, running: dict[int, _Window]) -> Iterator[tuple[int, float, int]]:
    """One decode of all rows: text, loss and number of tokens of each; windows at their end make room."""
    count = min(decoder.facts.kept_logits, *(window.left for window in running.values()), 2**31)
    slots = list(running)
    logits = decoder.decode(
        [Chunk(s, running[s].ids[running[s].fed : running[s].fed + count], running[s].fed) for s in slots]
    )
    for slot, row in zip(slots, logits, strict=True):
        window = running[slot]
        wanted = window.ids[window.fed + 1 : window.fed + 1 + count]
        yield window.text, _loss(row, wanted), count
        window.fed += count
        if not window.left:
            del running[slot]


def _loss(logits: NDArray[np.float32], wanted: Sequence[int]) -> float:
    """The sum of −log p of the tokens, in float64."""
    exact = logits.astype(np.float64)
    top = exact.max(axis=-1, keepdims=True)
    whole = np.log(np.exp(exact - top).sum(axis=-1)) + top[:, 0]
    return float((whole - exact[np.arange(len(wanted)), np.asarray(wanted)]).sum())
