"""What shifts logits for what was said before: penalties and biases.

Each function gets the ids so far, those of the prompt with them, and a row of logits, which it changes in place and
gives back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.generation.sampling.numbers import Logits

Ids = NDArray[np.int64]


def repetition(ids: Ids, logits: Logits, *, penalty: float) -> Logits:
    """Divides a positive logit, and multiplies a negative one, of each token that is there already.

    ``RepetitionPenaltyLogitsProcessor``; from Keskar et al., 2019, arXiv:1909.05858, section 4.1.
    """
    seen = logits[ids]
    logits[ids] = np.where(seen < 0, seen * np.float32(penalty), seen / np.float32(penalty))
    return logits


def of_source(ids: Ids, logits: Logits, *, source: Ids, penalty: float) -> Logits:
    """Raises the tokens of the source, where the penalty is above 1: ``EncoderRepetitionPenaltyLogitsProcessor``."""
    return repetition(source, logits, penalty=1 / penalty)


def presence_and_frequency(ids: Ids, logits: Logits, *, prompt: int, presence: float, frequency: float) -> Logits:
    """Takes ``presence`` off each token of the answer so far, and ``frequency`` as often as it is there.

    OpenAI's definition, by which the prompt's tokens do not count.

    Args:
        ids: As everywhere.
        logits: As everywhere.
        prompt: Tokens of the prompt.
        presence: Once for each token that is there.
        frequency: For each time that it is there.
    """
    tokens, counts = np.unique(ids[prompt:], return_counts=True)
    logits[tokens] -= (counts * frequency + presence).astype(np.float32)
    return logits


@dataclass(frozen=True, slots=True)
class Biases:
    """Adds a bias to the last token of each sequence whose other tokens are the last ones so far.

    ``SequenceBiasLogitsProcessor``; with −inf, ``NoBadWordsLogitsProcessor``. A sequence of one token has its bias
    always.

    Attributes:
        tokens: The single tokens.
        amounts: Their biases.
        longer: For each length of the beginning: beginnings ``(sequences, length)``, last tokens, biases.
    """

    tokens: Ids
    amounts: Logits
    longer: tuple[tuple[Ids, Ids, Logits], ...]

    @classmethod
    def of(cls, biases: Mapping[tuple[int, ...], float]) -> Biases:
        """From sequence → bias, as transformers has it."""
        single = {ids[0]: bias for ids, bias in biases.items() if len(ids) == 1}
        lengths = sorted({len(ids) for ids in biases} - {1})
        groups = [{ids: bias for ids, bias in biases.items() if len(ids) == length} for length in lengths]
        return cls(
            np.array(list(single), np.int64),
            np.array(list(single.values()), np.float32),
            tuple(
                (
                    np.array([ids[:-1] for ids in group], np.int64),
                    np.array([ids[-1] for ids in group], np.int64),
                    np.array(list(group.values()), np.float32),
                )
                for group in groups
            ),
        )

    def __call__(self, ids: Ids, logits: Logits) -> Logits:
        """Adds them; several of one token are summed first, as transformers does."""
        tokens, amounts = [self.tokens], [self.amounts]
        for beginnings, last, bias in self.longer:
            length = beginnings.shape[1]
            if length <= len(ids):
                fits = (beginnings == ids[len(ids) - length :]).all(axis=1)
                tokens.append(last[fits])
                amounts.append(bias[fits])
        once, place = np.unique(np.concatenate(tokens), return_inverse=True)
        sums = np.zeros(len(once), np.float32)
        np.add.at(sums, place, np.concatenate(amounts))
        logits[once] += sums
        return logits


def exponential_decay(ids: Ids, logits: Logits, *, start: int, factor: float, ends: Ids) -> Logits:
    """Raises the end tokens, the more the longer it goes on: by ``|logit| · (factor^n − 1)``.

    ``ExponentialDecayLengthPenalty``.

    Args:
        ids: As everywhere.
        logits: As everywhere.
        start: Tokens, the prompt's with them, behind which it begins; ``n`` counts from there.
        factor: 1 changes nothing.
        ends: The end tokens.
    """
    if len(ids) > start:
        found = logits[ends]
        growth = np.float32(pow(factor, len(ids) - start) - 1)
        logits[ends] = found + np.where(np.isfinite(found), np.abs(found) * growth, np.float32(0))
    return logits
