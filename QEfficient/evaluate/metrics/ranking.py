"""Figures of rankings: of documents for a query, and of a masked word among all words.

The definitions are trec_eval's, which pytrec_eval and ir-measures run. Documents of equal scores stand in falling order
of their names, as strings: that is how trec_eval breaks ties. A document that has no grade counts as grade 0, one is
relevant from a grade above 0 on, and a query without any relevant document scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from QEfficient.evaluate.metrics.metric import Floats, Metric, mean_of
from QEfficient.evaluate.record import Outcome

Measure = Callable[[Floats, Floats], float]
"""Grades in the order of the ranking, and all grades above 0 in falling order → a value."""


def ranked(scores: Mapping[Any, float]) -> list[Any]:
    """Documents from the best to the worst, by trec_eval's order of equal scores.

    >>> ranked({"a": 1.0, "b": 2.0, "c": 1.0})
    ['b', 'c', 'a']
    """
    documents = list(scores)
    values = np.fromiter(scores.values(), np.float64, len(documents))
    order = np.argsort(-values)
    values = values[order]
    if (values[1:] < values[:-1]).all():  # no two are equal, as nearly always: names need not be compared
        return [documents[place] for place in order]
    return sorted(documents, key=lambda document: (scores[document], str(document)), reverse=True)


def _of_queries(measure: Measure) -> Callable[[Outcome], Floats]:
    """A value a query; NaN where one of its scores is, because such a ranking has no order."""

    def each(outcome: Outcome) -> Floats:
        return np.array([_query(measure, *row) for row in zip(outcome.right, outcome.given, strict=True)])

    return each


def _query(measure: Measure, grades: Mapping[Any, float], scores: Mapping[Any, float]) -> float:
    if np.isnan(np.fromiter(scores.values(), np.float64, len(scores))).any():
        return float("nan")
    positive = {document: grade for document, grade in grades.items() if grade > 0}
    relevant = np.array(sorted(positive.values(), reverse=True), np.float64)
    if not len(relevant):
        return 0.0
    return measure(np.array([positive.get(one, 0) for one in ranked(scores)], np.float64), relevant)


def _gain(grades: Floats) -> float:
    """Discounted cumulative gain: K. Järvelin, J. Kekäläinen, 2002, with the grade itself as gain."""
    return float((grades / _discounts(len(grades))).sum())


@lru_cache(maxsize=64)  # queries are many, and lengths few
def _discounts(count: int) -> Floats:
    return np.log2(np.arange(2, count + 2))


def ndcg(k: int | None) -> Metric:
    """Normalised discounted cumulative gain of the first ``k`` documents."""
    return _ranking("ndcg", k, lambda found, relevant: _gain(found[:k]) / _gain(relevant[:k]))


def mrr(k: int | None) -> Metric:
    """One over the place of the first relevant document, 0 where the first ``k`` have none."""

    def measure(found: Floats, relevant: Floats) -> float:
        places = np.flatnonzero(found[:k] > 0)
        return 1.0 / (float(places[0]) + 1.0) if len(places) else 0.0

    return _ranking("mrr", k, measure)


def recall(k: int | None) -> Metric:
    """The share of the relevant documents that the first ``k`` have."""
    return _ranking("recall", k, lambda found, relevant: float((found[:k] > 0).sum() / len(relevant)))


def precision(k: int | None) -> Metric:
    """The share of the first ``k`` documents that is relevant; a ranking that is shorter is filled up with others."""

    def measure(found: Floats, relevant: Floats) -> float:
        return float((found[:k] > 0).sum() / (k or max(len(found), 1)))

    return _ranking("precision", k, measure)


def average_precision(k: int | None) -> Metric:
    """Mean over all relevant documents of the precision at their places; 0 for one that the first ``k`` have not.

    sentence-transformers divides by ``k`` where there are more relevant documents than that; trec_eval does not.
    """

    def measure(found: Floats, relevant: Floats) -> float:
        places = np.flatnonzero(found[:k] > 0)
        return float((np.arange(1, len(places) + 1) / (places + 1)).sum() / len(relevant))

    return _ranking("map", k, measure)


def _ranking(name: str, k: int | None, measure: Measure) -> Metric:
    return mean_of(name if k is None else f"{name}@{k}", _of_queries(measure))


def _ranks(outcome: Outcome) -> Floats:
    return np.asarray(outcome.given, np.float64)


def top(k: int | None) -> Metric:
    """The share of masked words that are among the model's first ``k``; 1 where none is given."""
    name = "accuracy" if k is None else f"accuracy@{k}"

    def each(outcome: Outcome) -> Floats:
        ranks = _ranks(outcome)
        return np.where(np.isnan(ranks), np.nan, ranks <= (k or 1))

    return mean_of(name, each)


def reciprocal_rank(k: int | None) -> Metric:
    """One over the rank at which the model has a masked word, 0 where that is beyond ``k``."""

    def each(outcome: Outcome) -> Floats:
        ranks = _ranks(outcome)
        return np.where(ranks > (k or np.inf), 0.0, 1.0 / ranks)

    return mean_of("mrr" if k is None else f"mrr@{k}", each)
