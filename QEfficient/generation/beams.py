"""Beam search and beam sampling: transformers' ``GenerationMixin._beam_search`` of 5.24, for one prompt.

Its scores are float32, and −1e9 stands for what is out of the race, as there: a beam that has ended, and every beam but
the first before the first token, when all hold the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.generation.recording import Likelihood, Recording, likelihoods
from QEfficient.generation.sampling.chain import Chain, possible
from QEfficient.generation.sampling.numbers import Logits, best, log_softmax
from QEfficient.generation.settings import GenerationSettings
from QEfficient.generation.stopping import Ending
from QEfficient.generation.strategy import Answer, NextTokens, Reason

OUT = np.float32(-1.0e9)


@dataclass(frozen=True, slots=True)
class Beam:
    """A sequence: the beam that it goes on from, and one token more.

    Attributes:
        before: ``None`` where this is its first token.
        row: The row of the step before that it goes on from.
        token: The token.
        length: New tokens.
        likelihood: Of the token, where that is kept.
    """

    before: Beam | None
    row: int
    token: int
    length: int
    likelihood: Likelihood | None = None

    def path(self) -> tuple[Beam, ...]:
        """It and all before it, the first token's first."""
        found: list[Beam] = []
        beam: Beam | None = self
        while beam is not None:
            found.append(beam)
            beam = beam.before
        return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Ranked:
    """A beam among those that may come back.

    Attributes:
        beam: ``None`` where there is none yet.
        score: Its sum of log-probabilities over its length to the length penalty.
        reason: Why it ended; ``None`` where it has not.
    """

    beam: Beam | None
    score: np.float32
    reason: Reason | None = None


class BeamSearch:
    """Follows ``num_beams`` sequences at once and gives back the best of those that ended.

    Args:
        prompt: The prompt's tokens.
        settings: Numbers of beams and of answers, length penalty, early stopping.
        chain: What is done to log-probabilities first.
        ending: When a beam ends.
        recording: What is kept beside the tokens.
        random: What beams are drawn with; ``None``: the best are taken, of equal ones the first beam's, then the one
            with the smallest id.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        settings: GenerationSettings,
        chain: Chain,
        ending: Ending,
        recording: Recording,
        random: np.random.Generator | None = None,
    ) -> None:
        self._settings, self._chain, self._ending, self._random = settings, chain, ending, random
        self._recording = recording
        self.rows = settings.num_beams
        self._prompt = len(prompt)
        self._written = 0
        self._ids = np.empty((self.rows, len(prompt) + ending.most), np.int64)
        self._ids[:, : len(prompt)] = prompt
        self._running: list[Beam | None] = [None] * self.rows
        self._sums = np.full(self.rows, OUT, np.float32)
        self._sums[0] = 0
        self._ended = [Ranked(None, OUT)] * self.rows
        self._done: Reason | None = None
        self._scores: list[Logits] = []
        self._logits: list[Logits] = []

    def advance(self, logits: NDArray[np.float32]) -> NextTokens:
        """Chooses the beams of the next step.

        Args:
            logits: Behind the prompt, ``(1, vocabulary)``, then behind each beam, ``(num_beams, vocabulary)``.

        Raises:
            NumericsError: They hold NaN.
            OptionError: The parameters leave no token.
        """
        sums = (self._processed(logits) + self._sums[:, None]).ravel()
        possible(sums.max())
        places = self._places(sums)
        rows, tokens = np.divmod(places, logits.shape[1])
        candidates = self._candidates(logits, rows, tokens)
        reasons = [self._reason(row, token) for row, token in zip(rows, tokens, strict=True)]
        ended = np.array([reason is not None for reason in reasons])
        found = sums[places]
        going = found + np.where(ended, OUT, np.float32(0))
        chosen = _first(going, self.rows)
        self._rank(candidates, found, reasons)
        self._go_on([candidates[place] for place in chosen], going[chosen])
        parents = (0,) * self.rows if len(logits) == 1 else tuple(rows[chosen].tolist())
        if self._is_done(bool(ended.all())):
            self._done = self._ended[0].reason or "length"
        return NextTokens(parents, tuple(tokens[chosen].tolist()), self._done)

    def answers(self, reason: Reason | None = None) -> tuple[Answer, ...]:
        """The ``num_return_sequences`` best that ended; if the engine ends it, those still running are among them."""
        ranked = self._ended if self._done else self._so_far()
        return tuple(
            self._answer(one.beam, one, one.reason or reason or "cancelled")
            for one in ranked[: self._settings.num_return_sequences]
            if one.beam is not None
        )

    def _processed(self, logits: Logits) -> Logits:
        """Log-probabilities of each beam behind the processors, ``(num_beams, vocabulary)``."""
        normalized = log_softmax(logits)
        length = self._prompt + self._written
        rows = [self._chain.row(self._ids[row, :length], one) for row, one in enumerate(normalized)]
        processed = np.broadcast_to(rows[0], (self.rows, logits.shape[1])) if len(rows) == 1 else np.stack(rows)
        if self._recording.logits:
            self._logits.append(np.broadcast_to(logits, processed.shape).copy())
        if self._recording.scores:
            self._scores.append(processed.copy())
        return processed

    def _places(self, sums: Logits) -> NDArray[np.int64]:
        """Places of the candidates in the flat row of all beams' tokens, the best first.

        There are more than beams, so that enough are left to go on where some have ended.
        """
        many = max(2, 1 + len(self._settings.eos_token_id)) * self.rows
        if self._random is None:
            return best(sums, many)
        # The largest of logits with Gumbel noise are a draw without replacement (Kool et al., 2019, arXiv:1903.06059).
        noisy = sums + self._random.gumbel(size=len(sums))
        drawn = np.argsort(-noisy, kind="stable")[:many]
        return drawn[np.argsort(-sums[drawn], kind="stable")]

    def _candidates(self, logits: Logits, rows: NDArray[np.int64], tokens: NDArray[np.int64]) -> list[Beam]:
        kept: list[Likelihood | None] = [None] * len(rows)
        if self._recording.logprobs is not None:
            for row in np.unique(rows):
                of_row = np.flatnonzero(rows == row)
                raw = logits[row if len(logits) > 1 else 0]
                for place, one in zip(of_row, likelihoods(raw, tokens[of_row], self._recording.logprobs), strict=True):
                    kept[place] = one
        return [
            Beam(self._running[row], row, token, self._written + 1, likelihood)
            for row, token, likelihood in zip(rows.tolist(), tokens.tolist(), kept, strict=True)
        ]

    def _reason(self, row: np.int64, token: np.int64) -> Reason | None:
        written = self._ids[row, self._prompt : self._prompt + self._written]
        return self._ending.reason(np.append(written, token))

    def _rank(self, candidates: Sequence[Beam], sums: Logits, reasons: Sequence[Reason | None]) -> None:
        """Takes candidates that ended among the best, if they are better. Only the first ``num_beams`` may."""
        scores = sums / np.float32((self._written + 1) ** self._settings.length_penalty)
        ranked = list(self._ended)
        for place, (beam, score, reason) in enumerate(zip(candidates, scores, reasons, strict=True)):
            takes_part = reason is not None and place < self.rows
            ranked.append(Ranked(beam, score, reason) if takes_part else Ranked(beam, score + OUT))
        order = _first(np.array([one.score for one in ranked], np.float32), self.rows)
        self._ended = [ranked[place] for place in order]

    def _go_on(self, beams: list[Beam], sums: Logits) -> None:
        length = self._prompt + self._written
        self._ids[:, :length] = self._ids[[beam.row for beam in beams], :length]
        self._ids[:, length] = [beam.token for beam in beams]
        self._running, self._sums = list(beams), sums
        self._written += 1

    def _is_done(self, all_ended: bool) -> bool:
        """Whether no better sequence is to come (``_check_early_stop_heuristic``), or nothing can go on."""
        early, penalty = self._settings.early_stopping, self._settings.length_penalty
        length = self._ending.most if early == "never" and penalty > 0 else self._written
        attainable = self._sums[0] / np.float32(length**penalty)
        worst = min(one.score for one in self._ended)
        may_improve = any(attainable > (worst if one.reason else OUT) for one in self._ended)
        full = early is True and all(one.reason for one in self._ended)
        return all_ended or full or not may_improve

    def _so_far(self) -> list[Ranked]:
        scores = self._sums / np.float32(max(self._written, 1) ** self._settings.length_penalty)
        running = [Ranked(beam, score) for beam, score in zip(self._running, scores, strict=True)]
        ended = [one for one in self._ended if one.reason]
        return sorted(ended + running, key=lambda one: float(one.score), reverse=True)

    def _answer(self, beam: Beam, ranked: Ranked, reason: Reason) -> Answer:
        path = beam.path()
        kept = [one.likelihood for one in path if one.likelihood is not None]
        return Answer(
            tuple(one.token for one in path),
            reason,
            score=float(ranked.score),
            logprobs=tuple(one.own for one in kept),
            top_logprobs=tuple(one.best for one in kept),
            scores=tuple(self._scores),
            logits=tuple(self._logits),
            beam_indices=tuple(one.row for one in path),
        )


def _first(values: Logits, n: int) -> NDArray[np.int64]:
    """Places of the ``n`` largest; of equal ones, the first."""
    return np.argsort(-values, kind="stable")[:n]
