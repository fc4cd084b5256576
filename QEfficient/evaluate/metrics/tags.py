"""Entities: runs of words that tags in IOB2 mark, ``B-PER I-PER O``.

What counts as one is what seqeval counts in its default mode, which is that of CoNLL's ``conlleval``: an ``I-`` that
follows neither a ``B-`` nor an ``I-`` of its own kind starts an entity too. An entity is right when its kind and both
its ends are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from QEfficient.errors import InputError
from QEfficient.evaluate.metrics.metric import Floats, Metric, divided, f1_of, of_totals
from QEfficient.evaluate.record import Outcome

Entity = tuple[str, int, int]


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """The entities of a row of tags: kind, first word, one past the last.

    Args:
        tags: One a word: ``"O"``, ``"B-…"`` or ``"I-…"``.

    Raises:
        InputError: A tag is something else.

    >>> list(entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [('PER', 0, 2), ('LOC', 3, 4), ('LOC', 4, 5)]
    """
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, now = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not now):
            raise InputError(
                "A tag is not in IOB2.",
                got=f"{tag!r}, word {place} of a row",
                allowed="'O', 'B-' and a kind, 'I-' and a kind",
                do="name the labels so, or measure metrics=['accuracy']: words whose tag is right",
            )
        if kind and (prefix != "I" or now != kind):
            yield kind, start, place
            kind = ""
        if now and not kind:
            kind, start = now, place


def _counts(outcome: Outcome) -> Floats:
    """A row's entities that were found, that are none, and that were missed."""
    found = np.zeros((len(outcome), 3))
    for row, (right, given) in enumerate(zip(outcome.right, outcome.given, strict=True)):
        _refuse_lengths(row, right, given)
        wanted, answered = set(entities(right)), set(entities(given))
        found[row] = len(wanted & answered), len(answered - wanted), len(wanted - answered)
    return found


def _refuse_lengths(row: int, right: Sequence[str], given: Sequence[str]) -> None:
    if len(right) != len(given):
        raise InputError(
            f"Row {row} has not as many tags as words.",
            got=f"{len(given)} tags",
            allowed=f"{len(right)} tags, one a word",
            do="give each word one tag, also those that were cut off",
        )


def _words(outcome: Outcome) -> Floats:
    """A row's words whose tag is right, and all its words."""
    found = np.zeros((len(outcome), 2))
    for row, (right, given) in enumerate(zip(outcome.right, outcome.given, strict=True)):
        _refuse_lengths(row, right, given)
        found[row] = sum(one == other for one, other in zip(right, given, strict=True)), len(right)
    return found


def _all_right(outcome: Outcome) -> Floats:
    """1 for a row all of whose entities are found, and nothing else."""
    wrong = _counts(outcome)[:, 1:].sum(axis=1)
    return np.asarray(wrong == 0, np.float64)


def _precision(sums: Floats) -> Floats:
    return _share(sums[:, 0], sums[:, 0] + sums[:, 1])


def _recall(sums: Floats) -> Floats:
    return _share(sums[:, 0], sums[:, 0] + sums[:, 2])


def _share(part: Floats, whole: Floats) -> Floats:
    """0 where there is nothing to have a share of, as seqeval has it."""
    found: Floats = np.where(whole == 0, 0.0, divided(part, whole))
    return found


def _right_words(outcome: Outcome) -> Floats:
    right, words = _words(outcome).T
    return np.where(words == 0, 1.0, divided(right, words))


ENTITY_F1 = Metric("entity_f1", True, of_totals(_counts, f1_of), _all_right)
ENTITY_PRECISION = Metric("entity_precision", True, of_totals(_counts, _precision), _all_right)
ENTITY_RECALL = Metric("entity_recall", True, of_totals(_counts, _recall), _all_right)
WORD_ACCURACY = Metric("accuracy", True, of_totals(_words, lambda sums: divided(sums[:, 0], sums[:, 1])), _right_words)
