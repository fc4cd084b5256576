"""Answers of models that have other labels, or the same in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from QEfficient.evaluate.record import Outcome

_OF_LABELS = ("text-classification", "image-classification", "audio-classification", "multi-label")


def aligned(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Outcomes in which a position stands for the same label; what is right and what was answered stays the same.

    The labels become those of the first model and, behind them, what other models have beside these. Names count
    whatever their case, as where data is read. A model whose right answers are other ones by name than the first's was
    asked by position: its outcome stays as it is, and position stands for position.

    Args:
        outcomes: One a model, at least one, of the same rows.

    Returns:
        One a model, in order. A label that a model has not has the score -Inf.
    """
    first = outcomes[0]
    if first.task not in _OF_LABELS or not _is_named(first):
        return tuple(outcomes)
    names, by_name = first.labels, [True]
    for other in outcomes[1:]:
        known = {name.casefold() for name in names}
        union = (*names, *(name for name in other.labels if name.casefold() not in known))
        by_name.append(_is_named(other) and _agree(first, other, union))
        names = union if by_name[-1] else names
    return tuple(_moved(one, names) if named else one for one, named in zip(outcomes, by_name, strict=True))


def _is_named(outcome: Outcome) -> bool:
    """Whether each label has a name of its own."""
    folded = {name.casefold() for name in outcome.labels}
    right, given = np.asarray(outcome.right), np.asarray(outcome.given)
    count = right.shape[1] if outcome.task == "multi-label" else max(right.max(initial=-1), given.max(initial=-1)) + 1
    return bool(len(folded) == len(outcome.labels) >= count)


def _agree(first: Outcome, other: Outcome, names: Sequence[str]) -> bool:
    """Whether the same is right by name; of the same names in another order nothing else can be meant."""
    if sorted(map(str.casefold, first.labels)) == sorted(map(str.casefold, other.labels)):
        return True
    return np.array_equal(_moved(first, names).right, _moved(other, names).right)


def _moved(outcome: Outcome, names: Sequence[str]) -> Outcome:
    """An outcome with these labels, of which its own are some."""
    if outcome.labels == tuple(names):
        return outcome
    place = {name.casefold(): number for number, name in enumerate(names)}
    places = np.array([place[name.casefold()] for name in outcome.labels], np.intp)  # own position → new
    shape = (len(outcome), len(names))
    scores = outcome.scores
    if scores is not None:
        scores = np.full(shape, -np.inf, np.float32)
        scores[:, places] = outcome.scores
    both = [np.asarray(outcome.right), np.asarray(outcome.given)]
    if outcome.task == "multi-label":
        wide = np.zeros((2, *shape), bool)
        wide[:, :, places] = both
        both = list(wide)
    else:
        both = [places[one.astype(np.intp)] for one in both]
    return replace(outcome, right=both[0], given=both[1], scores=scores, labels=tuple(names))
