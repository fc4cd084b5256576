"""The rows on which models disagree most, whoever of them is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.evaluate.metrics.ranking import ranked
from QEfficient.evaluate.record import Examples, Outcome
from QEfficient.records import Json

Floats = NDArray[np.float64]
_TEXT = 160  # characters of a row's text that are shown
_ANSWER = 60
_DEPTH = 10  # documents of a ranking that count


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One row that models answered differently.

    Attributes:
        row: Its position in the data, from 0.
        text: What was asked, shortened; ``""`` where it is no text, or not known.
        right: What is right, in words.
        answers: What each model answered, in words.
        distance: How far the answers lie apart, 0 to 1 (of regression: in its own unit), the mean over pairs of models.
    """

    row: int
    text: str
    right: str
    answers: tuple[str, ...]
    distance: float

    def to_dict(self) -> dict[str, Json]:
        """For JSON."""
        return {
            "row": self.row,
            "text": self.text,
            "right": self.right,
            "answers": list(self.answers),
            "distance": self.distance,
        }


def disagreements(
    outcomes: Sequence[Outcome], examples: Examples | None = None, most: int = 10
) -> tuple[Disagreement, ...]:
    """The rows on which the answers lie furthest apart.

    Args:
        outcomes: One a model, of the same rows.
        examples: The rows, for their texts.
        most: How many rows at most; those on which all agree are none of them.

    Returns:
        The furthest apart first; equally far ones in the order of the data.
    """
    if len(outcomes) < 2:
        return ()
    task = outcomes[0].task
    distance = _DISTANCES.get(task, _of_labels)
    pairs = list(combinations(outcomes, 2))
    apart = np.mean([distance(first, second) for first, second in pairs], axis=0)
    closer = np.mean([_of_scores(first, second) for first, second in pairs], axis=0)  # among rows of equal distance
    order = np.lexsort((np.arange(len(apart)), -closer, -apart))
    rows = [int(row) for row in order if apart[row] > 0][:most]
    return tuple(
        Disagreement(
            row,
            "" if examples is None else row_text(examples, row),
            shortened(_right(outcomes[0], row, examples), _ANSWER),
            tuple(shortened(_given(one, row, examples), _ANSWER) for one in outcomes),
            float(apart[row]),
        )
        for row in rows
    )


def row_text(examples: Examples, row: int) -> str:
    """What a row asks, its texts one after the other, each as long as there is room for all.

    >>> row_text(Examples("similarity", {"text": ["A cat."], "pair": ["A dog."], "score": [0.5]}), 0)
    'A cat. | A dog.'
    """
    asked = [examples.columns[role][row] for role in _ASKED if role in examples.columns]
    if examples.task == "automatic-speech-recognition":
        return ""  # its text is what is right
    texts = [one if isinstance(one, str) else " ".join(map(str, one)) for one in asked]
    return " | ".join(shortened(one, _TEXT // len(texts)) for one in texts)


def shortened(text: str, most: int) -> str:
    r"""On one line, of so many characters at most.

    >>> shortened("a  long\ntext", 8)
    'a long …'
    """
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


_ASKED = ("question", "query", "prompt", "text", "pair", "tokens", "context")


def _of_labels(first: Outcome, second: Outcome) -> Floats:
    return np.asarray(np.asarray(first.given) != np.asarray(second.given), np.float64)


def _of_sets(first: Outcome, second: Outcome) -> Floats:
    """The share of the labels that only one of them gives."""
    return np.asarray((np.asarray(first.given, bool) ^ np.asarray(second.given, bool)).mean(axis=1), np.float64)


def _of_numbers(first: Outcome, second: Outcome) -> Floats:
    return np.nan_to_num(np.abs(np.asarray(first.given, np.float64) - np.asarray(second.given, np.float64)))


def _of_ranks(first: Outcome, second: Outcome) -> Floats:
    """Of similarities, whose height differs from model to model: how far apart a row's ranks are, as a share."""
    ranks = [np.argsort(np.argsort(np.asarray(one.given), kind="stable")) for one in (first, second)]
    return np.asarray(np.abs(ranks[0] - ranks[1]) / max(1, len(first) - 1), np.float64)


def _of_masks(first: Outcome, second: Outcome) -> Floats:
    """Of the ranks of the right word: 0 where they are equal, towards 1 the more times one is the other."""
    one, two = np.asarray(first.given, np.float64), np.asarray(second.given, np.float64)
    return np.asarray(1 - np.minimum(one, two) / np.maximum(one, two), np.float64)


def _each(distance: Callable[[Any, Any], float]) -> Callable[[Outcome, Outcome], Floats]:
    def of(first: Outcome, second: Outcome) -> Floats:
        return np.array([distance(one, two) for one, two in zip(first.given, second.given, strict=True)])

    return of


def _words_apart(first: str, second: str) -> float:
    return 1 - SequenceMatcher(None, first.split(), second.split(), autojunk=False).ratio()


def _tags_apart(first: Sequence[str], second: Sequence[str]) -> float:
    return float(np.mean([one != two for one, two in zip(first, second, strict=True)])) if first else 0.0


def _rankings_apart(first: Mapping[Any, float], second: Mapping[Any, float]) -> float:
    """1 less the average overlap of the first ten (Webber, Moffat and Zobel 2010, section 3.2)."""
    one, two = ranked(first), ranked(second)
    depth = min(_DEPTH, max(len(one), len(two)))
    shared = [len({*one[:upto]} & {*two[:upto]}) / upto for upto in range(1, depth + 1)]
    return 1 - float(np.mean(shared)) if shared else 0.0


_DISTANCES: dict[str, Callable[[Outcome, Outcome], Floats]] = {
    "multi-label": _of_sets,
    "regression": _of_numbers,
    "similarity": _of_ranks,
    "fill-mask": _of_masks,
    "retrieval": _each(_rankings_apart),
    "reranking": _each(_rankings_apart),
    "token-classification": _each(_tags_apart),
    "question-answering": _each(_words_apart),
    "automatic-speech-recognition": _each(_words_apart),
}


def _of_scores(first: Outcome, second: Outcome) -> Floats:
    """Total variation distance of what two models take for likely; 0 where it is not known."""
    if first.scores is None or second.scores is None or np.shape(first.scores) != np.shape(second.scores):
        return np.zeros(len(first))
    if np.ndim(first.scores) != 2 or first.task == "multi-label":  # there a row's scores are no shares of one
        return np.zeros(len(first))
    with np.errstate(invalid="ignore"):  # NaN and Inf among the scores
        one, two = _likely(first.scores), _likely(second.scores)
        return np.asarray(np.nan_to_num(np.abs(one - two).sum(axis=1) / 2), np.float64)


def _likely(scores: NDArray[np.float32]) -> Floats:
    raised = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)


def _right(outcome: Outcome, row: int, examples: Examples | None) -> str:
    value = outcome.right[row]
    if outcome.task == "question-answering":
        return " / ".join(value) if len(value) else "no answer"
    if outcome.task == "fill-mask":
        return str(examples.columns["target"][row]) if examples and "target" in examples.columns else f"id {value}"
    if outcome.task in ("retrieval", "reranking"):
        value = {document: grade for document, grade in value.items() if grade > 0}
    return _words(outcome, value, examples, row)


def _given(outcome: Outcome, row: int, examples: Examples | None) -> str:
    if outcome.task == "fill-mask":
        return f"rank {int(outcome.given[row])}"
    if outcome.task == "similarity":  # what counts is how many pairs are more alike
        more = np.asarray(outcome.given) > outcome.given[row]
        return f"{float(outcome.given[row]):.4g} (rank {int(more.sum()) + 1})"
    return _words(outcome, outcome.given[row], examples, row)


def _words(outcome: Outcome, value: Any, examples: Examples | None, row: int) -> str:
    """What stands in a row, as people read it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(_document(document, examples, row) for document in ranked(value)[:3])
    if outcome.task == "token-classification":
        return " ".join(value)
    if np.ndim(value):
        return ", ".join(label(outcome, int(place)) for place in np.flatnonzero(value)) or "none"
    return f"{float(value):.4g}" if outcome.task in ("similarity", "regression") else label(outcome, int(value))


def _document(document: Any, examples: Examples | None, row: int) -> str:
    """A document by its place, and by how it begins where that is known."""
    texts = () if examples is None else examples.corpus or examples.columns.get("documents", [()] * (row + 1))[row]
    known = isinstance(document, int | np.integer) and 0 <= document < len(texts)
    return f"{document} “{shortened(texts[int(document)], 24)}”" if known else str(document)


def label(outcome: Outcome, place: int) -> str:
    """A label's name, or its number where it has none."""
    return outcome.labels[place] if 0 <= place < len(outcome.labels) else str(place)
