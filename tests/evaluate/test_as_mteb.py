"""Figures beside mteb's own scoring code, on the same made-up predictions; what it rounds is equal to its digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.sts import AbsTaskSTS

from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.record import Outcome

CLOSE = 1e-9
ROUNDED = 1e-4
DEPTHS = (1, 3, 10, 100)
TREC = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
"""Our names → those of one query's figures there, which are not rounded."""

Rankings = tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]


def rankings(seed: int, documents: int, ties: bool) -> Rankings:
    """Grades from 0 to 3 of a few documents a query, and a score of every one; with ties, of few values."""
    rng = np.random.default_rng(seed)
    right: dict[str, dict[str, int]] = {}
    given: dict[str, dict[str, float]] = {}
    for query in range(30):
        graded = rng.choice(documents, rng.integers(1, 9), replace=False)
        right[f"q{query}"] = {f"d{one}": int(rng.integers(0, 4)) for one in graded}
        scores = rng.random(documents)
        given[f"q{query}"] = {f"d{one}": float(score) for one, score in enumerate(scores.round(1) if ties else scores)}
    return right, given


@pytest.mark.parametrize("task, documents", [("retrieval", 150), ("reranking", 12)])
@pytest.mark.parametrize("ties", [False, True])
def test_rankings(task: str, documents: int, ties: bool) -> None:
    right, given = rankings(documents, documents, ties)
    theirs: Any = calculate_retrieval_scores(given, right, DEPTHS)
    outcome = Outcome(task, list(right.values()), list(given.values()))
    whole = {"ndcg": theirs.ndcg, "map": theirs.map, "recall": theirs.recall, "precision": theirs.precision}
    for name, trec in TREC.items():
        for k in DEPTHS:
            [metric] = metrics_of(task, [f"{name}@{k}"])
            each = [theirs.all_scores[query][f"{trec}_{k}"] for query in right]
            np.testing.assert_allclose(metric.each(outcome), each, rtol=0, atol=CLOSE, err_msg=metric.name)
            [mean] = [value for key, value in whole[name].items() if key.endswith(f"@{k}")]
            assert metric.value(outcome) == pytest.approx(mean, abs=ROUNDED), metric.name
    for k in DEPTHS:
        [metric] = metrics_of(task, [f"mrr@{k}"])
        assert metric.value(outcome) == pytest.approx(theirs.mrr[f"MRR@{k}"], abs=CLOSE)


def test_similarity() -> None:
    rng = np.random.default_rng(1)
    right = rng.integers(0, 6, 200).astype(float)  # gold scores have ties
    given = np.clip(right / 5 + rng.normal(0, 0.4, 200), -1, 1)
    scores = {"cosine_scores": given, "manhattan_distances": -given, "euclidean_distances": -given}
    theirs: Any = AbsTaskSTS._calculate_scores(Any, scores | {"similarity_scores": None}, list(right))
    outcome = Outcome("similarity", right, given)
    for name in ("spearman", "pearson"):
        [metric] = metrics_of("similarity", [name])
        assert metric.value(outcome) == pytest.approx(theirs[f"cosine_{name}"], abs=CLOSE)


@pytest.mark.parametrize("labels", [2, 5])
def test_classification(labels: int) -> None:
    rng = np.random.default_rng(labels)
    right = rng.integers(0, labels, 300)
    given = np.where(rng.random(300) < 0.7, right, rng.integers(0, labels, 300))
    theirs: Any = AbsTaskClassification._calculate_scores(Any, right, given)
    outcome = Outcome("text-classification", right, given, labels=tuple(map(str, range(labels))))
    for name, other in (("accuracy", "accuracy"), ("macro_f1", "f1")):
        [metric] = metrics_of("text-classification", [name])
        assert metric.value(outcome) == pytest.approx(theirs[other], abs=CLOSE)
