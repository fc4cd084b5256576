"""From settings and a prompt to what chooses its tokens: the door to all of this for whoever runs requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from QEfficient.errors import OptionError, UsageError
from QEfficient.generation.beams import BeamSearch
from QEfficient.generation.recording import Recording
from QEfficient.generation.sampler import Sampler, random_numbers
from QEfficient.generation.sampling.chain import Allowed, Place, Processor, chain
from QEfficient.generation.settings import GenerationSettings
from QEfficient.generation.stopping import Ending, Stop
from QEfficient.generation.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a caller adds to the settings. Each depends on its arguments alone: several sequences may share it.

    Attributes:
        extra: Processors: ids so far, the prompt's with them, and a row of logits → the row, changed in place or new.
            They come where transformers has a caller's own: behind the settings', before temperature and filters.
        allowed: Ids so far → the tokens that may come next: ``prefix_allowed_tokens_fn`` without its first argument.
        stops: The new ids → whether the sequence ends behind the last of them: stop strings, a caller's own criteria.
    """

    extra: Sequence[Processor] = ()
    allowed: Allowed | None = None
    stops: Sequence[Stop] = ()


NO_HOOKS = Hooks()


def strategies(
    settings: GenerationSettings,
    prompt: Sequence[int],
    most: int,
    vocabulary: int,
    hooks: Hooks = NO_HOOKS,
    source: Sequence[int] | None = None,
) -> tuple[Strategy, ...]:
    """What chooses the tokens of one prompt.

    Args:
        settings: The request's.
        prompt: Its tokens, without padding.
        most: New tokens that there may be, from 1 on: :meth:`GenerationSettings.most_new_tokens`.
        vocabulary: Tokens that the logits are of.
        hooks: What the caller adds.
        source: What an encoder has read; ``None``: the prompt itself, as transformers takes it.

    Returns:
        One strategy; of ``num_return_sequences`` drawn ones, one for each, in order. Beams are one, with all answers.

    Raises:
        OptionError: A token that the settings name is not in the vocabulary.
        UsageError: The settings have stop strings, and no hook looks for them.
    """
    _check(settings, vocabulary, hooks)
    place = Place(len(prompt), len(prompt) + most, vocabulary, tuple(prompt if source is None else source))
    steps = chain(settings, place, hooks.extra, hooks.allowed)
    ending, recording = Ending.of(settings, most, hooks.stops), Recording.of(settings)
    if settings.num_beams > 1:
        random = random_numbers(settings.seed, 0) if settings.do_sample else None
        return (BeamSearch(prompt, settings, steps, ending, recording, random),)
    if not settings.do_sample:
        return (Sampler(prompt, steps, ending, recording),)
    return tuple(
        Sampler(prompt, steps, ending, recording, random_numbers(settings.seed, sequence))
        for sequence in range(settings.num_return_sequences)
    )


def _check(settings: GenerationSettings, vocabulary: int, hooks: Hooks) -> None:
    if settings.stop_strings and not hooks.stops:
        raise UsageError(
            "Stop strings are found in text, and there is no tokenizer to make it.",
            got=f"stop_strings={list(settings.stop_strings)}",
            allowed="stop strings together with a tokenizer",
            do="pass tokenizer=",
        )
    forced = settings.forced_bos_token_id
    named: dict[str, Iterable[int]] = {
        "sequence_bias": (token for ids in settings.sequence_bias for token in ids),
        "logit_bias": settings.logit_bias,
        "bad_words_ids": (token for ids in settings.bad_words_ids for token in ids),
        "forced_bos_token_id": () if forced is None else (forced,),
        "forced_eos_token_id": settings.forced_eos_token_id,
    }
    for name, tokens in named.items():
        outside = sorted(token for token in set(tokens) if token >= vocabulary)
        if outside:
            raise OptionError(
                f"{name} names tokens that the model has not.",
                got=", ".join(map(str, outside[:5])),
                allowed=f"token ids from 0 to {vocabulary - 1}",
                do="encode the words with this model's own tokenizer",
            )
