"""What a model answers to texts: how alike two are, which documents a query wants, which labels a text has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import UsageError
from QEfficient.evaluate.answers.labels import positions
from QEfficient.evaluate.answers.runner import Floats, TextModel, VectorModel
from QEfficient.evaluate.record import Examples, Outcome
from QEfficient.text.tokenizer import Text

DEPTH = 1000  # documents of a query's ranking that are kept: trec_eval reads no more


def similarity(model: TextModel, examples: Examples, pairs: NDArray[np.intp] | None) -> Outcome:
    """Scores of pairs: the similarity of their vectors, or what a model of pairs gives.

    Args:
        model: What answers.
        examples: Pairs of texts, with a score each.
        pairs: Which texts each pair holds, where texts stand in several.
    """
    first, second = examples.columns["text"], examples.columns["pair"]
    right = np.asarray(examples.columns["score"], np.float64)
    if model.gives_vectors:
        texts = list(dict.fromkeys([*first, *second]))  # each once
        vectors, place = model.outputs(texts), {text: i for i, text in enumerate(texts)}
        left, other = (vectors[[place[text] for text in column]] for column in (first, second))
        given = cast(VectorModel, model).similarity(left, other, pairwise=True)
    else:
        given = _one_score(model, list(zip(first, second, strict=True)))
    return Outcome(examples.task, right, given.astype(np.float64), clusters=examples.clusters, pairs=pairs)


def regression(model: TextModel, examples: Examples) -> Outcome:
    """One number a text, or a pair."""
    given = _one_score(model, texts_of(examples)).astype(np.float64)
    right = np.asarray(examples.columns["score"], np.float64)
    return Outcome(examples.task, right, given, clusters=examples.clusters)


def retrieval(model: TextModel, examples: Examples, depth: int = DEPTH) -> Outcome:
    """Documents by their similarity to each query.

    Args:
        model: What answers.
        examples: Queries, and a corpus.
        depth: Documents of each ranking that are kept.
    """
    if not model.gives_vectors:
        raise UsageError(
            "Retrieval compares the vectors of queries and documents, and this model gives scores of pairs.",
            got=model.name,
            allowed="a model of vectors, or reranking of each query's own candidates",
            do="give rows with query, positives and negatives to evaluate a reranker",
        )
    queries = model.outputs(examples.columns["query"], "query")
    documents = model.outputs(examples.corpus, "document")
    kept = min(depth, len(documents))
    given: list[dict[int, float]] = []
    for start in range(0, len(queries), 64):  # the scores of all queries at once may not fit into memory
        scores = cast(VectorModel, model).similarity(queries[start : start + 64], documents, pairwise=False)
        best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        given += [
            dict(zip(row.tolist(), one[row].tolist(), strict=True)) for row, one in zip(best, scores, strict=True)
        ]
    return Outcome(examples.task, examples.columns["relevant"], given, clusters=examples.clusters)


def reranking(model: TextModel, examples: Examples) -> Outcome:
    """Each query's own documents, by a model of pairs or by their vectors."""
    queries, documents = examples.columns["query"], examples.columns["documents"]
    right = [dict(enumerate(map(float, grades))) for grades in examples.columns["grades"]]
    flat = [text for row in documents for text in row]
    owners = np.repeat(np.arange(len(queries)), [len(row) for row in documents])
    if model.gives_vectors:
        texts = list(dict.fromkeys(flat))
        place = {text: i for i, text in enumerate(texts)}
        asked = model.outputs(queries, "query")[owners]
        vectors = model.outputs(texts, "document")[[place[text] for text in flat]]
        scores = cast(VectorModel, model).similarity(asked, vectors, pairwise=True)
    else:
        scores = _one_score(model, [(queries[i], text) for i, text in zip(owners.tolist(), flat, strict=True)])
    ends = np.cumsum([len(row) for row in documents])[:-1]
    given = [dict(enumerate(row.tolist())) for row in np.split(scores, ends)]
    return Outcome(examples.task, right, given, clusters=examples.clusters)


def classification(model: TextModel, examples: Examples) -> Outcome:
    """The label with the highest score."""
    names = labels_of(model)
    right = np.asarray(positions(examples.columns["label"], names, model.name, called=examples.label_names), np.intp)
    scores = model.outputs(texts_of(examples))
    return Outcome(examples.task, right, scores.argmax(-1), scores, names, examples.clusters)


def multi_label(model: TextModel, examples: Examples) -> Outcome:
    """Every label whose score is above 0, which is a probability above one half."""
    names = labels_of(model)
    right = np.zeros((len(examples), len(names)), bool)
    for row, labels in enumerate(examples.columns["labels"]):
        right[row, positions(labels, names, model.name, row=row, called=examples.label_names)] = True
    scores = model.outputs(texts_of(examples))
    return Outcome(examples.task, right, scores > 0, scores, names, examples.clusters)


def multiple_choice(model: TextModel, examples: Examples) -> Outcome:
    """The choice with the highest score; a row may have any number of them."""
    counts = [len(choices) for choices in examples.columns["choices"]]
    right = np.asarray(examples.columns["label"], np.intp)
    prompts = np.repeat(np.arange(len(counts)), counts).tolist()
    pairs = [
        (str(examples.columns["prompt"][row]), str(choice))
        for row, choice in zip(prompts, (c for row in examples.columns["choices"] for c in row), strict=True)
    ]
    scores = np.split(model.outputs(pairs).reshape(-1), np.cumsum(counts)[:-1])
    given = np.array([row.argmax() for row in scores], np.intp)
    padded = np.full((len(counts), max(counts)), -np.inf, np.float32)
    for row, one in enumerate(scores):
        padded[row, : len(one)] = one
    return Outcome(examples.task, right, given, padded, tuple(map(str, range(max(counts)))), examples.clusters)


def texts_of(examples: Examples) -> list[Text]:
    """The texts of rows, with their second texts where they have any."""
    columns: Mapping[str, Sequence[Any]] = examples.columns
    if "pair" in columns:
        return list(zip(columns["text"], columns["pair"], strict=True))
    return list(columns["text"])


def labels_of(model: TextModel) -> tuple[str, ...]:
    """The labels of a model that has two or more.

    Raises:
        UsageError: It has fewer.
    """
    if model.gives_vectors or len(model.labels) < 2:
        raise UsageError(
            "This model tells no labels apart.",
            got=f"{model.name}: {'vectors' if model.gives_vectors else f'{len(model.labels)} labels'}",
            allowed="a model with num_labels of 2 or more",
            do="fine-tune it on labelled texts, or evaluate it for similarity, retrieval or regression",
        )
    return model.labels


def _one_score(model: TextModel, texts: Sequence[Text]) -> Floats:
    if model.gives_vectors or len(model.labels) > 1:
        raise UsageError(
            "This task wants one score of each row, and the model gives none.",
            got=f"{model.name}: {'vectors' if model.gives_vectors else f'{len(model.labels)} labels'}",
            allowed="a model with num_labels=1",
            do="name the task that this model is for with task=",
        )
    return model.outputs(texts)[:, 0]
