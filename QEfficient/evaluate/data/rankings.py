"""Queries and their documents, in whatever form they come: as rankings of a list each, or of one collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from QEfficient.errors import InputError, unknown
from QEfficient.evaluate.data.cells import Cells, plain, refused, row_numbers
from QEfficient.evaluate.data.values import KINDS, grade

Columns = Mapping[str, Sequence[Any]]
Collection = tuple[dict[str, list[Any]], tuple[str, ...]]
"""``{"query": […], "relevant": [{position: grade}, …]}``, and the documents."""

_PARTS = {
    "queries": ("queries",),
    "corpus": ("corpus", "documents", "docs", "passages"),
    "relevant": ("relevant", "relevant_docs", "qrels"),
}


# ---------------------------------------------------------------------------------------------- a list each


def ranked_lists(columns: Columns) -> dict[str, list[Any]]:
    """Data for reranking as ``query``, ``documents`` and ``grades``, a row a query.

    Raises:
        InputError: A query has no relevant document, one that is relevant and is not, or lists of unequal length.
    """
    if "document" in columns:
        columns = _grouped(columns)
    elif "positives" in columns:
        columns = _joined(columns)
    documents, grades = columns["documents"], columns["grades"]
    cells = Cells("grades", "grades", grades)
    if odd := [row for row, found in enumerate(grades) if len(found) != len(documents[row])]:
        raise refused(cells, odd, "are not as many as the documents", "one grade a document", "check these rows")
    if none := [row for row, found in enumerate(grades) if not any(found)]:
        raise _none_relevant(none, columns["query"])
    return {name: list(columns[name]) for name in ("query", "documents", "grades")}


def _joined(columns: Columns) -> Columns:
    positives, negatives = columns["positives"], columns["negatives"]
    both = [row for row, found in enumerate(positives) if set(found) & set(negatives[row])]
    if both:
        cells = Cells("positives", "positives", positives)
        what = "hold a document that is among the negatives"
        raise refused(cells, both, what, "documents that are either relevant or not", "drop it from one of both")
    return {
        "query": columns["query"],
        "documents": [[*found, *negatives[row]] for row, found in enumerate(positives)],
        "grades": [[1] * len(found) + [0] * len(negatives[row]) for row, found in enumerate(positives)],
    }


def _grouped(columns: Columns) -> Columns:
    """Rows of one document each, put together by their queries."""
    groups: dict[str, list[int]] = {}
    for row, query in enumerate(columns["query"]):
        groups.setdefault(query, []).append(row)
    rows = groups.values()
    return {
        "query": list(groups),
        "documents": [[columns["document"][row] for row in group] for group in rows],
        "grades": [[columns["grade"][row] for row in group] for group in rows],
    }


# ---------------------------------------------------------------------------------------------- one collection


def is_collection(data: object) -> bool:
    """Whether data is a mapping with queries, a corpus and what is relevant."""
    return isinstance(data, Mapping) and all(_part(data, part) is not None for part in _PARTS)


def collected(columns: Columns) -> Collection:
    """Rows of a query and a document of its own: the documents are all distinct ones, in the order of the rows.

    Rows of equal queries are one query with several documents.

    Raises:
        InputError: A query has no relevant document.
    """
    places = {document: place for place, document in enumerate(dict.fromkeys(columns["document"]))}
    grades = columns.get("grade") or [1] * len(columns["query"])
    relevant: dict[str, dict[int, float]] = {query: {} for query in columns["query"]}
    for query, document, found in zip(columns["query"], columns["document"], grades, strict=True):
        if found:
            mine = relevant[query]
            mine[places[document]] = max(found, mine.get(places[document], 0))
    if none := [row for row, query in enumerate(columns["query"]) if not relevant[query]]:
        raise _none_relevant(none, columns["query"])
    return {"query": list(relevant), "relevant": list(relevant.values())}, tuple(places)


def read_collection(data: Mapping[str, Any], limit: int | None = None) -> Collection:
    """What InformationRetrievalEvaluator of sentence-transformers takes: queries and documents by their ids, or lists.

    Args:
        data: ``{"queries": id → text, "corpus": id → text, "relevant": query's id → ids of documents, or id → grade}``.
            Lists count by position. A document may be ``{"title": …, "text": …}``.
        limit: The most queries to take; the documents stay.

    Raises:
        InputError: A text is none, a relevant document is not in the corpus, or a query has none.
    """
    queries = dict(list(_by_id(_part(data, "queries"), "queries").items())[:limit])
    if not queries:
        raise InputError(
            "The data set has no rows: there are no queries.",
            got=f"a collection of {len(_part(data, 'corpus'))} documents",
            allowed="one query or more",
            do="check how it was loaded, and what was filtered",
        )
    corpus = {key: _document(value) for key, value in _by_id(_part(data, "corpus"), "corpus").items()}
    marks = _by_id(_part(data, "relevant"), "relevant")
    texts = KINDS["text"](Cells("query", "queries", list(queries.values())))
    documents = KINDS["document"](Cells("document", "corpus", list(corpus.values())))
    places = {key: place for place, key in enumerate(corpus)}
    found = [_relevant(key, marks.get(key, ()), places) for key in queries]
    if none := [row for row, one in enumerate(found) if not one]:
        raise _none_relevant(none, texts)
    return {"query": texts, "relevant": found}, tuple(documents)


def clusters_of_queries(data: Mapping[str, Any], name: str, limit: int | None = None) -> list[int | str]:
    """A cluster a query, which a part of a collection has by the queries' ids.

    Raises:
        InputError: There is no such part, or it lacks a query.
    """
    if name not in data:
        what = f"The collection has no part {name!r}."
        raise unknown(
            InputError, what, name, list(map(str, data)), argument="columns['cluster']", do="name one of these"
        )
    queries = list(_by_id(_part(data, "queries"), "queries"))
    given = _by_id(data[name], name)
    known = given if isinstance(data[name], Mapping) else dict(zip(queries, given.values(), strict=False))
    if lacking := [query for query in queries[:limit] if query not in known]:
        raise InputError(
            "Not every query has a cluster.",
            got=f"{name!r} has none for query {lacking[0]!r}",
            allowed="a cluster by the id of each query, or a list of them",
            do="add those that are missing",
        )
    return KINDS["cluster"](Cells("cluster", name, [known[query] for query in queries[:limit]]))


def _relevant(query: Any, marked: Any, places: Mapping[Any, int]) -> dict[int, float]:
    """Position of a document → its grade; those of grade 0 are left out."""
    graded = marked if isinstance(marked, Mapping) else dict.fromkeys(_ids(marked), 1)
    if missing := [key for key in graded if plain(key) not in places]:
        raise InputError(
            "A relevant document is not in the corpus.",
            got=f"document {missing[0]!r} of query {query!r}",
            allowed=f"ids of the corpus, such as {', '.join(map(repr, list(places)[:3]))}",
            do="check the ids; a number and its text are two ids",
        )
    grades = {places[plain(key)]: grade(plain(value)) for key, value in graded.items()}
    if None in grades.values():
        raise InputError(
            "A grade is no number from 0 on.",
            got=f"query {query!r}: {marked!r:.80}",
            allowed="numbers from 0 on",
            do="pass a mapping from ids of documents to grades, or a list of ids",
        )
    return {place: value for place, value in sorted(grades.items()) if value}  # a set has no order


def _ids(marked: Any) -> list[Any]:
    if isinstance(marked, (str, int)):
        return [marked]
    return list(marked) if isinstance(marked, (Set, Sequence)) else list(getattr(marked, "tolist", list)())


def _part(data: Mapping[str, Any], part: str) -> Any:
    return next((data[name] for name in _PARTS[part] if name in data), None)


def _by_id(part: Any, name: str) -> dict[Any, Any]:
    if isinstance(part, Mapping):
        return {plain(key): value for key, value in part.items()}
    if isinstance(part, str) or not hasattr(part, "__iter__"):
        raise InputError(
            f"{name} is neither a mapping from ids nor a list.",
            got=f"{type(part).__name__}: {part!r:.60}",
            allowed="{id: text, …}, or a list, whose ids are its positions",
            do="pass one of these",
        )
    return dict(enumerate(part))


def _document(value: Any) -> Any:
    """BEIR's documents have a title, which goes before the text as MTEB puts it."""
    if not isinstance(value, Mapping):
        return value
    title, text = value.get("title") or "", value.get("text")
    return f"{title} {text}".strip() if isinstance(title, str) and isinstance(text, str) else None


def _none_relevant(rows: Sequence[int], queries: Sequence[str]) -> InputError:
    return InputError(
        "A query has no relevant document.",
        got=f"{row_numbers(rows)}; row {rows[0]} asks {queries[rows[0]]!r:.60}",
        allowed="at least one document with a grade above 0 a query",
        do="drop queries without one: no ranking of theirs is better than another",
    )
