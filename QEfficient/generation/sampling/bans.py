"""What takes tokens out, or leaves only some: n-grams that were there, suppressed and forced tokens, least lengths.

Each function gets the ids so far, those of the prompt with them, and a row of logits, which it changes in place and
gives back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from QEfficient.generation.sampling.numbers import NO, Logits, log_softmax
from QEfficient.generation.sampling.penalties import Ids


def repeated_ngrams(ids: Ids, logits: Logits, *, size: int) -> Logits:
    """Bans each token that would end an n-gram of ``size`` tokens a second time: ``NoRepeatNGramLogitsProcessor``."""
    if len(ids) >= size:
        windows = sliding_window_view(ids, size)
        begun = (windows[:, :-1] == ids[len(ids) - size + 1 :]).all(axis=1)
        logits[windows[begun, -1]] = NO
    return logits


def ngrams_of_source(ids: Ids, logits: Logits, *, source: Ids, size: int) -> Logits:
    """Bans each token that would end an n-gram of the source: ``EncoderNoRepeatNGramLogitsProcessor``."""
    if len(source) >= size and len(ids) >= size - 1:
        windows = sliding_window_view(source, size)
        begun = (windows[:, :-1] == ids[len(ids) - size + 1 :]).all(axis=1)
        logits[windows[begun, -1]] = NO
    return logits


def until(ids: Ids, logits: Logits, *, length: int, tokens: Ids) -> Logits:
    """Bans tokens while there are fewer than ``length``: ``MinLengthLogitsProcessor``, ``MinNewTokens…``."""
    if len(ids) < length:
        logits[tokens] = NO
    return logits


def always(ids: Ids, logits: Logits, *, tokens: Ids) -> Logits:
    """Bans tokens: ``SuppressTokensLogitsProcessor``."""
    logits[tokens] = NO
    return logits


def at(ids: Ids, logits: Logits, *, length: int, tokens: Ids) -> Logits:
    """Bans tokens where there are just ``length``: ``SuppressTokensAtBeginLogitsProcessor``."""
    if len(ids) == length:
        logits[tokens] = NO
    return logits


def forced(ids: Ids, logits: Logits, *, length: int, tokens: Ids) -> Logits:
    """Leaves only ``tokens`` where there are just ``length``: ``ForcedBOSTokenLogitsProcessor``, ``ForcedEOS…``."""
    if len(ids) == length:
        logits[:] = NO
        logits[tokens] = 0
    return logits


def only(ids: Ids, logits: Logits, *, allowed: Callable[[Ids], Sequence[int]]) -> Logits:
    """Leaves the tokens that a function of the ids so far names: ``PrefixConstrainedLogitsProcessor``."""
    tokens = np.asarray(allowed(ids), np.int64)
    kept = logits[tokens]
    logits[:] = NO
    logits[tokens] = kept
    return logits


def finite(ids: Ids, logits: Logits) -> Logits:
    """NaN becomes 0, and infinities the largest and smallest number: ``InfNanRemoveLogitsProcessor``."""
    return np.nan_to_num(logits, copy=False, nan=0.0)


def normalized(ids: Ids, logits: Logits) -> Logits:
    """Log-probabilities: ``LogitNormalization``."""
    return log_softmax(logits)
