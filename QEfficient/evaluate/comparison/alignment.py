"""Answers of models that have the same labels in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from QEfficient.evaluate.record import Outcome

_OF_LABELS = ("text-classification", "image-classification", "audio-classification", "multi-label")


def aligned(outcome: Outcome, labels: Sequence[str]) -> Outcome:
    """An outcome with its labels in another order; what is right and what was answered stays the same.

    Args:
        outcome: Of a model.
        labels: The wanted order. Names count whatever their case, as where data is read.

    Returns:
        The outcome itself where it has that order, or other labels: there position stands for position.
    """
    own, wanted = ([name.casefold() for name in names] for names in (outcome.labels, labels))
    if outcome.task not in _OF_LABELS or own == wanted or len({*own}) < len(own) or sorted(own) != sorted(wanted):
        return outcome
    order = np.array([own.index(name) for name in wanted])  # new position → own
    scores = None if outcome.scores is None else outcome.scores[:, order]
    if outcome.task == "multi-label":
        right, given = (np.asarray(one)[:, order] for one in (outcome.right, outcome.given))
    else:
        places = np.argsort(order)  # own position → new
        right, given = (places[np.asarray(one, np.intp)] for one in (outcome.right, outcome.given))
    return replace(outcome, right=right, given=given, scores=scores, labels=tuple(labels))
