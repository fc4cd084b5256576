"""Prompt look-up: how an answer goes on often stands in the text already, as where it quotes, corrects or repeats.

No second model guesses. Where the last tokens stand earlier in prompt or answer, those that followed them there are
drafted: a run of the program tells of all of them at once whether they are what is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LONGEST = 32
"""Tokens that are compared with those before an earlier place, at most."""
WORTH = 1.05
"""How many times more tokens a second drafts must promise to be run: they are guesses."""

_ODDS = (0.1, 0.25, 0.4, 0.6, 0.8)
"""How often the next token is right, by how many tokens agree (:func:`_kind`), before a text has shown it."""
_WEIGHT = 4.0  # tokens that these odds count as
_KEPT = 0.95  # of what was seen, when another token is: about the last twenty count


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that may come next.

    Attributes:
        ids: They, in order.
        odds: Of each, the probability that it and all before it are what is chosen.
    """

    ids: tuple[int, ...] = ()
    odds: tuple[float, ...] = ()


class Drafter(Protocol):
    """Guesses the next tokens of one sequence. What is chosen does not depend on it, and it raises nothing."""

    def draft(self, ids: Sequence[int], most: int) -> Draft:
        """What may come next.

        Args:
            ids: The sequence; it goes on from that of the call before.
            most: Tokens at most, from 0 on.
        """
        ...


class PromptLookup:
    """Drafts what followed the last tokens where they stand earlier in the text.

    Of all such places it takes the one before which most tokens agree, and of equal ones the last (transformers takes
    the first that agrees in ``max_matching_ngram_size``). A text that begins to repeat itself is gone on with round and
    round. Each draft is compared with what was chosen, whether it was run or not: so the odds are the text's own, and
    where it repeats nothing, nothing is drafted.

    Args:
        most: Tokens of a draft, at most.
        longest: Tokens that are compared before a place, at most; ``None``: as many as are of use.
    """

    def __init__(self, most: int, longest: int | None = None) -> None:
        self._most, self._longest = most, longest or LONGEST
        self._ids = np.empty(0, np.int64)
        self._length = 0
        self._guess: list[int] = []
        self._agree = 0  # tokens that agreed where the guess was found
        self._right = [_WEIGHT * odds for odds in _ODDS]
        self._seen = [_WEIGHT] * len(_ODDS)

    def draft(self, ids: Sequence[int], most: int) -> Draft:
        """As :class:`Drafter` says."""
        self._learn(ids[self._length :])
        self._take(ids)
        place, self._agree = _find(self._ids[: self._length], self._longest)
        self._guess = self._copied(place) if self._agree else []
        odds, whole = [], 1.0
        for token in range(min(most, len(self._guess))):
            whole *= self._rate(self._agree + token)
            odds.append(whole)
        return Draft(tuple(self._guess[: len(odds)]), tuple(odds))

    def _learn(self, chosen: Sequence[int]) -> None:
        """How far the last guess was right."""
        for more, (guess, token) in enumerate(zip(self._guess, chosen, strict=False)):
            kind = _kind(self._agree + more)
            self._seen[kind] = _KEPT * self._seen[kind] + 1
            self._right[kind] = _KEPT * self._right[kind] + (guess == token)
            if guess != token:
                return

    def _rate(self, agree: int) -> float:
        kind = _kind(agree)
        return self._right[kind] / self._seen[kind]

    def _take(self, ids: Sequence[int]) -> None:
        if len(ids) > len(self._ids):
            larger = np.empty(2 * len(ids), np.int64)
            larger[: self._length] = self._ids[: self._length]
            self._ids = larger
        self._ids[self._length : len(ids)] = ids[self._length :]
        self._length = len(ids)

    def _copied(self, place: int) -> list[int]:
        """What follows a place; behind the text's end, what was copied itself."""
        found: list[int] = self._ids[place : min(place + self._most, self._length)].tolist()
        period = len(found)
        return [found[token % period] for token in range(self._most)] if period else []


def _find(ids: NDArray[np.int64], longest: int) -> tuple[int, int]:
    """The place behind the earlier tokens that agree best with the last ones, and how many agree, 0 where none does."""
    last = len(ids) - 1
    places = np.flatnonzero(ids[:last] == ids[last]) if last > 0 else ids[:0]
    agree, found = 0, places
    while len(found) and agree < longest:
        places, agree = found, agree + 1
        found = places[places >= agree]
        found = found[ids[found - agree] == ids[last - agree]]
    return (int(places[-1]) + 1, agree) if agree else (0, 0)


def _kind(agree: int) -> int:
    """1, 2, to 4, to 8, and more tokens that agree."""
    return min((agree - 1).bit_length(), len(_ODDS) - 1)


def run_time(tokens: int, token_cost: float) -> float:
    """How long a run of so many tokens takes, of all rows together, ÷ what one of a single token takes.

    The weights are read once for all of them, and many are reckoned faster than few. The power is measured: within a
    tenth for runs of 1 to 256 tokens of 1 to 8 rows, of SmolLM2 in onnxruntime.

    Args:
        tokens: From 1 on.
        token_cost: What the second token takes more; 0: nothing.
    """
    return 1.0 + token_cost * math.pow(tokens - 1, 0.72)


def rows_width(drafts: Sequence[Draft], token_cost: float) -> int:
    """How many tokens of each row are worth a run: 1, and as many drafted ones as give most tokens for their time.

    A run takes all rows as wide as the widest.

    Args:
        drafts: Of each row.
        token_cost: Of :func:`run_time`.
    """
    rows = len(drafts)
    gained, width = float(rows), 1
    best = gained / run_time(rows, token_cost) * WORTH
    for more in range(max((len(draft.odds) for draft in drafts), default=0)):
        gained += sum(draft.odds[more] for draft in drafts if more < len(draft.odds))
        rate = gained / run_time(rows * (more + 2), token_cost)
        if rate > best:
            best, width = rate, more + 2
    return width
