"""What comes back beside the tokens: scores, logits, log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.generation.sampling.numbers import Logits, best, log_softmax
from QEfficient.generation.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class Recording:
    """What is to be kept of each step.

    Attributes:
        scores: The processed logits.
        logits: The raw ones.
        logprobs: How many of the best tokens' log-probabilities, beside the chosen one's; ``None``: not even that.
    """

    scores: bool = False
    logits: bool = False
    logprobs: int | None = None

    @classmethod
    def of(cls, settings: GenerationSettings) -> Recording:
        """What ``settings`` ask for; scores and logits only with ``return_dict_in_generate``, as in transformers."""
        whole = settings.return_dict_in_generate
        return cls(settings.output_scores and whole, settings.output_logits and whole, settings.logprobs)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of one token that was chosen, by the model's own distribution: before penalties, temperature and filters.

    Attributes:
        own: Its log-probability.
        best: Token → log-probability of the likeliest, the likeliest first.
    """

    own: float
    best: dict[int, float]


def likelihoods(logits: Logits, tokens: NDArray[np.int64], top: int) -> list[Likelihood]:
    """Of several tokens behind one row of raw logits, each with the ``top`` best of the row."""
    normalized = log_softmax(logits)
    likeliest = {int(token): float(normalized[token]) for token in best(logits, top)} if top else {}
    return [Likelihood(float(normalized[token]), likeliest) for token in tokens]
