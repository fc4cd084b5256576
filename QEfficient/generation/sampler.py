"""One sequence, token by token: greedy search, and drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.generation.recording import Likelihood, Recording, likelihoods
from QEfficient.generation.sampling.chain import Candidates, Chain, possible
from QEfficient.generation.sampling.numbers import Logits, weights
from QEfficient.generation.stopping import Ending
from QEfficient.generation.strategy import Answer, NextTokens, Reason


def random_numbers(seed: int | None, sequence: int) -> np.random.Generator:
    """The random numbers of one sequence of a request, its own whatever runs beside it.

    Args:
        seed: The request's, any whole number, of which the lowest 64 bits count; ``None``: of the system.
        sequence: Which of ``num_return_sequences``, from 0. Number 0 has the seed's own numbers, as if it were alone;
            number n those of ``numpy.random.SeedSequence(seed, spawn_key=(n,))``.
    """
    entropy = None if seed is None else seed % 2**64
    key = (sequence,) if sequence else ()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=key)))


def draw(candidates: Candidates, uniform: float) -> int:
    """The token at a place of the cumulated probabilities, which are summed in float64.

    Args:
        candidates: Which tokens, with their logits.
        uniform: From 0 to below 1.
    """
    sums = np.cumsum(weights(candidates.logits), dtype=np.float64)
    place = np.searchsorted(sums, uniform * sums[-1], side="right")
    # Rounding can lead to the very end, behind tokens whose probability is 0.
    return int(candidates.tokens[min(place, np.searchsorted(sums, sums[-1]))])


class Sampler:
    """Chooses one sequence's tokens: the likeliest each time, or drawn ones.

    Args:
        prompt: The prompt's tokens.
        chain: What is done to logits first.
        ending: When it ends.
        recording: What is kept beside the tokens.
        random: What tokens are drawn with, one number a token; ``None``: the likeliest is taken, of equal ones the one
            with the smallest id.
    """

    rows = 1

    def __init__(
        self,
        prompt: Sequence[int],
        chain: Chain,
        ending: Ending,
        recording: Recording,
        random: np.random.Generator | None = None,
    ) -> None:
        self._chain, self._ending, self._recording, self._random = chain, ending, recording, random
        self._prompt = self._length = len(prompt)
        self._ids = np.empty(len(prompt) + ending.most, np.int64)
        self._ids[: self._length] = prompt
        self._done: Reason | None = None
        self._scores: list[Logits] = []
        self._logits: list[Logits] = []
        self._likelihoods: list[Likelihood] = []

    def advance(self, logits: NDArray[np.float32]) -> NextTokens:
        """Chooses the next token.

        Args:
            logits: Behind the last one, ``(1, vocabulary)``.

        Raises:
            NumericsError: They hold NaN, or +inf where a token is to be drawn.
            OptionError: The parameters leave no token.
        """
        row = logits[0]
        token = self._likeliest(row) if self._random is None else self._drawn(row, self._random)
        if self._recording.logits:
            self._logits.append(row.copy())
        if self._recording.logprobs is not None:
            self._likelihoods += likelihoods(row, np.array([token]), self._recording.logprobs)
        self._ids[self._length] = token
        self._length += 1
        self._done = self._ending.reason(self._ids[self._prompt : self._length])
        return NextTokens((0,), (token,), self._done)

    def answers(self, reason: Reason | None = None) -> tuple[Answer, ...]:
        """The sequence: whole, or so far."""
        return (
            Answer(
                tuple(self._ids[self._prompt : self._length].tolist()),
                self._done or reason or "cancelled",
                logprobs=tuple(one.own for one in self._likelihoods),
                top_logprobs=tuple(one.best for one in self._likelihoods),
                scores=tuple(self._scores),
                logits=tuple(self._logits),
            ),
        )

    def _likeliest(self, row: Logits) -> int:
        scores = self._chain.row(self._ids[: self._length], row) if self._chain else row
        token = int(scores.argmax())
        possible(scores[token])
        if self._recording.scores:
            self._scores.append(row.copy() if scores is row else scores)
        return token

    def _drawn(self, row: Logits, random: np.random.Generator) -> int:
        candidates = self._chain.candidates(self._ids[: self._length], row)
        if self._recording.scores:
            self._scores.append(candidates.dense(len(row)))
        return draw(candidates, random.random())
