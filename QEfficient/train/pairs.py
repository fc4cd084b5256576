"""Rows → what an embedding model or a reranker is trained on: pairs, triplets, scored pairs, or texts with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError
from QEfficient.train.labels import numbers

if TYPE_CHECKING:
    from QEfficient.evaluate.record import Examples

Columns = dict[str, list[Any]]
"""As sentence-transformers reads them: texts in order, and ``label`` or ``score``."""

LABELLED, SCORED, PAIRS, TRIPLETS = "labels", "scores", "pairs", "triplets"


def embedding_columns(examples: Examples, where: str) -> tuple[str, Columns]:
    """The form of the rows and their columns.

    Args:
        examples: Of similarity (scored pairs), retrieval (pairs), reranking (triplets) or text-classification (labels).
        where: What an error calls them.

    Raises:
        InputError: There is nothing to learn from the rows, or they are for another task.
    """
    columns = examples.columns
    if examples.task == "similarity":
        scores = numbers(columns["score"], where)
        _vary(scores, where)
        return SCORED, {"sentence1": list(columns["text"]), "sentence2": list(columns["pair"]), "score": scores}
    if examples.task == "retrieval":
        found = [
            (query, examples.corpus[place])
            for query, relevant in zip(columns["query"], columns["relevant"], strict=True)
            for place in relevant
        ]
        return PAIRS, {"anchor": [query for query, _ in found], "positive": [text for _, text in found]}
    if examples.task == "reranking":
        return TRIPLETS, _triplets(columns, where)
    if examples.task == "text-classification":
        return LABELLED, _labelled(columns, where)
    raise InputError(
        "No embedding model is trained on rows for this task.",
        got=f"task={examples.task!r}",
        allowed="similarity (scored pairs), retrieval (pairs), reranking (triplets), text-classification (labels)",
        do="read the rows for one of these tasks",
    )


def reranker_columns(examples: Examples, where: str) -> Columns:
    """Pairs of query and document, with a label of 0 or 1, or a score from 0 to 1.

    Args:
        examples: Of reranking, retrieval or similarity.
        where: What an error calls them.

    Raises:
        InputError: All labels are the same, or the rows are for another task.
    """
    columns = examples.columns
    if examples.task == "similarity":
        rows = list(zip(columns["text"], columns["pair"], numbers(columns["score"], where), strict=True))
    elif examples.task == "reranking":
        rows = [
            (query, document, float(grade))
            for query, documents, grades in zip(columns["query"], columns["documents"], columns["grades"], strict=True)
            for document, grade in zip(documents, grades, strict=True)
        ]
    else:
        raise InputError(
            "No reranker is trained on rows for this task.",
            got=f"task={examples.task!r}",
            allowed="reranking (queries with graded documents), similarity (scored pairs)",
            do="read the rows for one of these tasks",
        )
    scores = [score for *_, score in rows]
    _vary(scores, where)
    return {"query": [row[0] for row in rows], "document": [row[1] for row in rows], "label": scores}


def _vary(scores: Sequence[float], where: str) -> None:
    if len(set(scores)) < 2:
        raise InputError(
            f"All the {where} rows have the same score, so there is nothing to learn.",
            got=f"{scores[0] if scores else 'no score'} throughout",
            allowed="scores of two values or more",
            do="add other rows; for pairs that all belong together, drop the scores and use task='retrieval'",
        )


def _labelled(columns: Mapping[str, Sequence[Any]], where: str) -> Columns:
    names = sorted(set(map(str, columns["label"])))
    if len(names) < 2:
        raise InputError(
            f"All the {where} rows have the same label, so there is nothing to learn.",
            got=f"{names} throughout",
            allowed="rows of two labels or more",
            do="add rows of other labels",
        )
    positions = {name: number for number, name in enumerate(names)}
    return {"text": list(columns["text"]), "label": [positions[str(label)] for label in columns["label"]]}


def _triplets(columns: Mapping[str, Sequence[Any]], where: str) -> Columns:
    """Each positive of a query with a negative of it; the fewer ones come again."""
    found: list[tuple[str, str, str]] = []
    for query, documents, grades in zip(columns["query"], columns["documents"], columns["grades"], strict=True):
        judged = list(zip(documents, grades, strict=True))
        good = [document for document, grade in judged if grade > 0]
        bad = [document for document, grade in judged if not grade > 0]
        longer = max(len(good), len(bad)) if good and bad else 0
        found += [
            (query, positive, negative)
            for positive, negative, _ in zip(cycle(good), cycle(bad), range(longer), strict=False)
        ]
    if not found:
        raise InputError(
            f"None of the {where} rows has both a document that is relevant and one that is not.",
            got=f"{len(columns['query'])} queries",
            allowed="grades above 0, and grades of 0, in one row",
            do="use task='retrieval' for pairs without negatives",
        )
    return {
        "anchor": [row[0] for row in found],
        "positive": [row[1] for row in found],
        "negative": [row[2] for row in found],
    }
