"""What keeps the likely tokens only. Each function gets a row of logits and says which to keep.

It may be given the row without the tokens that can't be chosen any more (−inf): they change no answer, since their
probability is 0. Where a border lies between equal logits, torch's sort and topk may keep any of them, another one on
another machine; here it is said which.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from QEfficient.generation.sampling.numbers import Logits, best, cumulated, entropy, log_softmax, nth_largest, softmax

Kept = NDArray[np.bool_]


def top_k(logits: Logits, *, k: int, least: int = 1) -> Kept:
    """The ``k`` largest, and whatever equals the last of them: ``TopKLogitsWarper``."""
    kept: Kept = logits >= nth_largest(logits, max(k, least))
    return kept


def top_p(logits: Logits, *, p: float, least: int = 1) -> Kept:
    """The fewest likely tokens whose probabilities sum to ``p`` or more: ``TopPLogitsWarper``.

    From Holtzman et al., 2020, arXiv:1904.09751. Of equal tokens at the border those with larger ids stay.
    """
    rising = np.sort(logits)  # values alone sort several times faster than places
    sums = cumulated(softmax(rising))
    first = min(int((sums <= np.float32(1 - p)).sum()), max(len(logits) - least, 0))
    border = rising[first]
    kept: Kept = logits > border
    equal = np.flatnonzero(logits == border)
    kept[equal[len(equal) - (np.searchsorted(rising, border, side="right") - first) :]] = True
    return kept


def top_h(logits: Logits, *, h: float) -> Kept:
    """Of the 100 largest, the first whose entropy sums to ``h`` of these tokens' entropy: ``TopHLogitsWarper``.

    Equal ones are taken in the order of their ids. At ``h=1`` the last bit of two sums decides whether the least likely
    of them stays.
    """
    top = best(logits, 100)
    probabilities = softmax(logits[top])
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = cumulated(-probabilities * np.log(probabilities))
        stays = sums <= entropy(logits[top]) * np.float32(h)
    stays[0] = True
    kept = np.zeros(len(logits), np.bool_)
    kept[top[stays]] = True
    return kept


def min_p(logits: Logits, *, p: float, least: int = 1) -> Kept:
    """Tokens with at least ``p`` times the largest probability: ``MinPLogitsWarper``; arXiv:2407.01082."""
    probabilities = softmax(logits)
    kept: Kept = probabilities >= probabilities.max() * np.float32(p)
    kept[best(probabilities, least)] = True
    return kept


def typical(logits: Logits, *, mass: float, least: int = 1) -> Kept:
    """Tokens whose surprise is nearest to the entropy, to a probability of ``mass``: ``TypicalLogitsWarper``.

    From Meister et al., 2022, arXiv:2202.00666. Tokens that are as near as the last of them stay too.
    """
    surprise = -log_softmax(logits)
    with np.errstate(invalid="ignore"):
        distance = np.abs(surprise - np.nansum(np.exp(-surprise) * surprise))
    order = np.argsort(distance, kind="stable")
    last = int((cumulated(softmax(logits[order])) < np.float32(mass)).sum())
    ordered = distance[order]
    stays = ordered <= ordered[min(last, len(logits) - 1)]
    stays[:least] = True
    kept = np.zeros(len(logits), np.bool_)
    kept[order[stays]] = True
    return kept


def epsilon(logits: Logits, *, cutoff: float, least: int = 1) -> Kept:
    """Tokens with a probability of ``cutoff`` or more: ``EpsilonLogitsWarper``; arXiv:2210.15191."""
    kept: Kept = (softmax(logits) >= np.float32(cutoff)) | (logits >= nth_largest(logits, least))
    return kept


def eta(logits: Logits, *, cutoff: float, least: int = 1) -> Kept:
    """As :func:`epsilon`, with a limit that falls with the entropy: ``EtaLogitsWarper``; arXiv:2210.15191, eq. 3."""
    limit = np.minimum(np.float32(cutoff), np.sqrt(np.float32(cutoff)) * np.exp(-entropy(logits)))
    kept: Kept = (softmax(logits) >= limit) | (logits >= nth_largest(logits, least))
    return kept
