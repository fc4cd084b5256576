"""All that settings ask for, in transformers' order (``GenerationMixin._get_logits_processor`` of 5.24)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import NumericsError, OptionError
from QEfficient.generation.sampling import bans, filters, penalties
from QEfficient.generation.sampling.numbers import NO, Logits, log_softmax
from QEfficient.generation.sampling.penalties import Biases, Ids
from QEfficient.generation.settings import GenerationSettings

Processor = Callable[[Ids, Logits], Logits]
"""Ids so far, the prompt's with them, and a row of logits → the row, changed in place or new."""

Filter = Callable[[Logits], NDArray[np.bool_]]
"""A row of logits → which tokens stay."""

Allowed = Callable[[Ids], Sequence[int]]
"""Ids so far → the tokens that may come next."""


@dataclass(frozen=True, slots=True)
class Place:
    """What processors are made for.

    Attributes:
        prompt: Tokens of the prompt.
        length: Most tokens, the prompt's with them.
        vocabulary: Tokens that the logits are of.
        source: What an encoder has read, where there is one, else the prompt's tokens.
    """

    prompt: int
    length: int
    vocabulary: int
    source: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is left of a row.

    Attributes:
        tokens: The tokens that can be chosen, in rising order.
        logits: Of each.
    """

    tokens: Ids
    logits: Logits

    def dense(self, vocabulary: int) -> Logits:
        """The whole row, −inf for every other token."""
        row = np.full(vocabulary, NO, np.float32)
        row[self.tokens] = self.logits
        return row


@dataclass(frozen=True, slots=True)
class Chain:
    """What is done to a row of logits before a token is chosen.

    Attributes:
        processors: What changes logits.
        filters: What cuts unlikely tokens off; only where tokens are drawn.
        normalizes: Whether what is left becomes log-probabilities at the end.
    """

    processors: tuple[Processor, ...] = ()
    filters: tuple[Filter, ...] = ()
    normalizes: bool = False

    def __bool__(self) -> bool:
        return bool(self.processors or self.filters or self.normalizes)

    def processed(self, ids: Ids, logits: Logits) -> Logits:
        """The row before any filter. ``logits`` stays as it is."""
        if not self.processors:
            return logits
        row = logits.copy()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for process in self.processors:
                row = process(ids, row)
        return row

    def candidates(self, ids: Ids, logits: Logits) -> Candidates:
        """The tokens that are left, with their logits.

        Raises:
            NumericsError: A logit is NaN or +inf, so that there are no probabilities.
            OptionError: No token is left.
        """
        row = self.processed(ids, logits)
        possible(row.max(), finite=True)
        can = row > NO
        left = self.filters
        if left:
            can &= left[0](row)
            left = left[1:]
        tokens = np.flatnonzero(can)
        kept = row[tokens]
        for keep in left:
            stays = keep(kept)
            tokens, kept = tokens[stays], kept[stays]
        return Candidates(tokens, log_softmax(kept) if self.normalizes else kept)

    def row(self, ids: Ids, logits: Logits) -> Logits:
        """The whole row at the end of the chain, as transformers' ``scores`` have it."""
        if self.filters:
            return self.candidates(ids, logits).dense(len(logits))
        row = self.processed(ids, logits)
        return log_softmax(row) if self.normalizes else row


def chain(
    settings: GenerationSettings, place: Place, extra: Sequence[Processor] = (), allowed: Allowed | None = None
) -> Chain:
    """What ``settings`` ask for.

    Args:
        settings: Whose parameters.
        place: Of this request.
        extra: A caller's own processors; they come behind the settings' and before temperature and filters.
        allowed: A caller's own ``prefix_allowed_tokens_fn`` without its first argument.
    """
    own = [*_shifts(settings, place), *_least(settings, place)]
    if allowed is not None:
        own.append(partial(bans.only, allowed=allowed))
    own += [*_forced(settings, place), *_suppressed(settings, place), *extra]
    if settings.do_sample and settings.temperature != 1.0:
        own.append(partial(_divided, temperature=settings.temperature))
    cuts = tuple(_filters(settings)) if settings.do_sample else ()
    return Chain(tuple(own), cuts, settings.renormalize_logits)


def possible(largest: np.float32, *, finite: bool = False) -> None:
    """Refuses a row by its largest logit, which is NaN where any of them is.

    Args:
        largest: The logit.
        finite: Whether it must not be +inf either.

    Raises:
        NumericsError: It is NaN or, with ``finite``, +inf.
        OptionError: It is −inf: no token is left.
    """
    if np.isnan(largest) or (finite and np.isposinf(largest)):
        raise NumericsError(
            "The logits are no numbers to choose by.",
            got=f"{largest} behind the processors",
            allowed="finite numbers, and -inf for tokens that are banned",
            do="pass remove_invalid_values=True, and find where they come from: compile verifies a program's logits",
        )
    if largest == NO:
        raise OptionError(
            "No token is left to choose from.",
            got="every logit is -inf behind the processors",
            allowed="parameters that leave at least one token",
            do="loosen what bans tokens: bad_words_ids, suppress_tokens, no_repeat_ngram_size, a grammar",
        )


def _divided(ids: Ids, logits: Logits, *, temperature: float) -> Logits:
    logits /= np.float32(temperature)
    return logits


def _shifts(settings: GenerationSettings, place: Place) -> Iterator[Processor]:
    if settings.biases:
        yield Biases.of(settings.biases)
    source = np.array(place.source, np.int64)
    if settings.encoder_repetition_penalty != 1.0:
        yield partial(penalties.of_source, source=source, penalty=settings.encoder_repetition_penalty)
    if settings.repetition_penalty != 1.0:
        yield partial(penalties.repetition, penalty=settings.repetition_penalty)
    presence, frequency = settings.presence_penalty, settings.frequency_penalty
    if presence or frequency:
        yield partial(penalties.presence_and_frequency, prompt=place.prompt, presence=presence, frequency=frequency)
    if settings.no_repeat_ngram_size:
        yield partial(bans.repeated_ngrams, size=settings.no_repeat_ngram_size)
    if settings.encoder_no_repeat_ngram_size:
        yield partial(bans.ngrams_of_source, source=source, size=settings.encoder_no_repeat_ngram_size)
    if settings.banned:
        yield Biases.of(dict.fromkeys(settings.banned, -np.inf))


def _least(settings: GenerationSettings, place: Place) -> Iterator[Processor]:
    least = settings.min_length
    if settings.min_new_tokens is not None:
        least = place.prompt + settings.min_new_tokens
    if least and settings.eos_token_id:
        yield partial(bans.until, length=least, tokens=_within(settings.eos_token_id, place))


def _forced(settings: GenerationSettings, place: Place) -> Iterator[Processor]:
    if settings.forced_bos_token_id is not None:
        yield partial(bans.forced, length=1, tokens=np.array([settings.forced_bos_token_id]))
    if settings.forced_eos_token_id:
        yield partial(bans.forced, length=place.length - 1, tokens=np.array(settings.forced_eos_token_id))
    if settings.remove_invalid_values:
        yield bans.finite
    if settings.exponential_decay_length_penalty is not None:
        start, factor = settings.exponential_decay_length_penalty
        ends = _within(settings.eos_token_id, place)
        yield partial(penalties.exponential_decay, start=start + place.prompt, factor=factor, ends=ends)


def _suppressed(settings: GenerationSettings, place: Place) -> Iterator[Processor]:
    if settings.suppress_tokens:
        yield partial(bans.always, tokens=_within(settings.suppress_tokens, place))
    if settings.begin_suppress_tokens:
        first = place.prompt if place.prompt > 1 or settings.forced_bos_token_id is None else place.prompt + 1
        yield partial(bans.at, length=first, tokens=_within(settings.begin_suppress_tokens, place))


def _filters(settings: GenerationSettings) -> Iterator[Filter]:
    # Beams need one token more than there are ends, so that each has a way to go on.
    least = 1 if settings.num_beams == 1 else max(2, len(settings.eos_token_id) + 1)
    if settings.top_h is not None:
        yield partial(filters.top_h, h=settings.top_h)
    if settings.top_k:
        yield partial(filters.top_k, k=settings.top_k, least=least)
    if settings.top_p < 1.0:
        yield partial(filters.top_p, p=settings.top_p, least=least)
    if settings.min_p is not None:
        yield partial(filters.min_p, p=settings.min_p, least=least)
    if settings.typical_p < 1.0:
        yield partial(filters.typical, mass=settings.typical_p, least=least)
    if settings.epsilon_cutoff:
        yield partial(filters.epsilon, cutoff=settings.epsilon_cutoff, least=least)
    if settings.eta_cutoff:
        yield partial(filters.eta, cutoff=settings.eta_cutoff, least=least)


def _within(tokens: Sequence[int], place: Place) -> Ids:
    """Tokens that there are; transformers passes over others here."""
    return np.array([token for token in tokens if 0 <= token < place.vocabulary], np.int64)
