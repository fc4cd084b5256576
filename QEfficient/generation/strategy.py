"""The seam between the engine and what chooses tokens: logits in, the next tokens out, until there is an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Reason = Literal["stop", "length", "cancelled"]
"""Why a sequence ended: an end token or stop string, the length, or somebody who no longer wants it."""


@dataclass(frozen=True, slots=True)
class NextTokens:
    """What to decode next.

    Attributes:
        parents: For each row of the next step, which row of this one it goes on from.
        tokens: For each, its next token. The last token of a sequence that is at its end is here too, and not decoded.
        done: Why all is at its end; ``None``: go on.
    """

    parents: tuple[int, ...]
    tokens: tuple[int, ...]
    done: Reason | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One sequence that was written.

    Attributes:
        ids: The new tokens, an end token with them, as HuggingFace gives them.
        reason: Why it ended.
        score: Of a beam, its sum of log-probabilities over its length to the length penalty.
        logprobs: Log-probability of each token, of the raw logits, where asked for.
        top_logprobs: For each token, token → log-probability of the best, the best first, where asked for.
        scores: The processed logits of each step, ``(vocabulary,)`` each, where asked for. Of beams those of every step
            and of all beams, ``(num_beams, vocabulary)`` each; ``beam_indices`` has the rows of this one.
        logits: The raw logits likewise.
        beam_indices: For each token, the row of the step before that it went on from, of a beam.
    """

    ids: tuple[int, ...]
    reason: Reason
    score: float | None = None
    logprobs: tuple[float, ...] = ()
    top_logprobs: Sequence[dict[int, float]] = ()
    scores: Sequence[NDArray[np.float32]] = field(default=(), repr=False)
    logits: Sequence[NDArray[np.float32]] = field(default=(), repr=False)
    beam_indices: tuple[int, ...] = ()


class Strategy(Protocol):
    """Chooses the tokens of one request. It holds all that the choice depends on: its prompt, seed, penalties, stops.

    The engine gives it the logits behind the prompt, ``(1, vocabulary)``, then those of each step, one row for each of
    the last :class:`NextTokens`'s tokens in their order.
    """

    rows: int
    """Slots that it needs at most: 1, or as many as there are beams."""

    def advance(self, logits: NDArray[np.float32]) -> NextTokens:
        """Chooses."""
        ...

    def answers(self, reason: Reason | None = None) -> tuple[Answer, ...]:
        """What was written: all, or so far, where the engine ends it for ``reason``."""
        ...
