"""Queries and documents: every form of retrieval and of reranking, equal to sentence-transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.errors import InputError, UsageError
from QEfficient.evaluate.data import read_examples

QUERIES = {"q1": "what?", "q2": "who?"}
CORPUS = {"d1": "this", "d2": "that", "d3": "nobody"}
RELEVANT = {"q1": {"d3", "d1"}, "q2": {"d2"}}
EXPECTED = {"query": ["what?", "who?"], "relevant": [{0: 1, 2: 1}, {1: 1}]}


@pytest.mark.parametrize(
    "data",
    [
        {"queries": QUERIES, "corpus": CORPUS, "relevant_docs": RELEVANT},
        {"queries": QUERIES, "corpus": CORPUS, "relevant": {"q1": ["d1", "d3"], "q2": "d2", "q9": ["d1"]}},
        {"queries": QUERIES, "corpus": CORPUS, "qrels": {"q1": {"d1": 1, "d3": 1, "d2": 0}, "q2": {"d2": 1}}},
        {"queries": list(QUERIES.values()), "corpus": list(CORPUS.values()), "relevant": [[0, 2], [1]]},
        {"queries": list(QUERIES.values()), "corpus": list(CORPUS.values()), "relevant": [np.array([2, 0]), 1]},
        {
            "queries": dict(enumerate(QUERIES.values())),
            "corpus": list(CORPUS.values()),
            "relevant": {0: {0, 2}, 1: [1]},
        },
    ],
)
def test_a_collection_in_every_form(data: dict[str, Any]) -> None:
    found = read_examples(data, "retrieval")
    assert found.columns == EXPECTED
    assert found.corpus == ("this", "that", "nobody")
    assert len(found) == 2
    assert [list(one) for one in found.columns["relevant"]] == [[0, 2], [1]]
    first = {"queries": QUERIES, "corpus": CORPUS, "relevant": RELEVANT}
    assert found.digest == read_examples(first).digest  # told by its parts alone


def test_a_collection_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    marked = {query: sorted(documents) for query, documents in RELEVANT.items()}
    path.write_text(json.dumps({"queries": QUERIES, "corpus": CORPUS, "relevant_docs": marked}))
    assert read_examples(path).columns == EXPECTED
    assert read_examples(path).name == "x.json"


def test_documents_with_titles_and_empty_ones() -> None:
    corpus = {"d1": {"title": "T", "text": "x"}, "d2": {"title": "", "text": "y"}, "d3": ""}
    found = read_examples({"queries": {"q": "?"}, "corpus": corpus, "relevant": {"q": {"d1": 2}}})
    assert found.corpus == ("T x", "y", "")
    assert found.columns["relevant"] == [{0: 2}]


def test_a_limit_takes_queries_and_keeps_the_corpus() -> None:
    found = read_examples({"queries": QUERIES, "corpus": CORPUS, "relevant": RELEVANT}, limit=1)
    assert found.columns == {"query": ["what?"], "relevant": [{0: 1, 2: 1}]}
    assert len(found.corpus) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"relevant": {"q1": ["d1"], "q2": ["d7"]}}, ("not in the corpus", "'d7'", "'q2'")),
        ({"relevant": {"q1": ["d1"]}}, ("no relevant document", "row 1", "who?")),
        ({"relevant": {"q1": ["d1"], "q2": []}}, ("no relevant document", "row 1")),
        ({"relevant": {"q1": ["d1"], "q2": {"d1": 0}}}, ("no relevant document", "row 1")),
        ({"relevant": {"q1": ["d1"], "q2": {"d1": -1}}}, ("grade", "q2")),
        ({"queries": {"q1": "what?", "q2": None}}, ("query", "row 1", "None")),
        ({"queries": {"q1": "what?", "q2": ""}}, ("query", "row 1")),
        ({"corpus": {**CORPUS, "d2": 5}}, ("document", "row 1", "5")),
        ({"corpus": {**CORPUS, "d2": {"title": "x"}}}, ("document", "row 1")),
        ({"corpus": "text"}, ("corpus", "'text'")),
        ({"queries": {}}, ("no rows",)),
    ],
)
def test_a_collection_that_can_not_be_used(change: dict[str, Any], says: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        read_examples({"queries": QUERIES, "corpus": CORPUS, "relevant": RELEVANT, **change})
    assert all(text in str(caught.value) for text in says), str(caught.value)


def test_rows_of_a_query_and_its_document() -> None:
    rows = [("q1", "d1"), ("q2", "d2"), ("q1", "d2"), ("q1", "d1")]
    found = read_examples(rows, "retrieval")
    assert found.columns == {"query": ["q1", "q2"], "relevant": [{0: 1, 1: 1}, {1: 1}]}
    assert found.corpus == ("d1", "d2")


def test_graded_rows() -> None:
    rows = [("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d2", 0.5), ("q1", "d1", 1.0)]
    found = read_examples(rows, "retrieval")
    assert found.columns["relevant"] == [{0: 2}, {1: 0.5}]
    assert type(found.columns["relevant"][0][0]) is int


@pytest.mark.parametrize(
    "data",
    [
        {"query": ["p", "q"], "positive": ["a", "c"], "negatives": [["b"], ["a", "b"]]},
        {"query": ["p", "q"], "positives": [["a"], ["c"]], "negative": ["b", ["a", "b"]]},
        {"query": ["p", "q"], "docs": [["a", "b"], ["c", "a", "b"]], "labels": [[1, 0], [True, False, 0.0]]},
        [("p", "a", ["b"]), ("q", "c", ["a", "b"])],
        [
            {"query": "p", "document": "a", "label": 1},
            {"query": "q", "document": "c", "label": 1},
            {"query": "p", "document": "b", "label": 0},
            {"query": "q", "document": "a", "label": 0},
            {"query": "q", "document": "b", "label": 0},
        ],
    ],
    ids=["one positive", "one negative", "grades", "tuples", "rows of one document"],
)
def test_every_form_of_reranking(data: Any) -> None:
    found = read_examples(data, "reranking")
    assert found.columns == {
        "query": ["p", "q"],
        "documents": [["a", "b"], ["c", "a", "b"]],
        "grades": [[1, 0], [1, 0, 0]],
    }
    assert {type(grade) for row in found.columns["grades"] for grade in row} == {int}
    assert len(found) == 2


def test_clusters_of_queries() -> None:
    rows = {"query": ["p", "q", "p"], "document": ["a", "b", "c"], "topic": ["x", "y", "x"]}
    found = read_examples(rows, "retrieval", {"cluster": "topic"})
    assert found.clusters is not None and found.clusters.tolist() == [0, 1]
    with pytest.raises(InputError, match="row 2"):
        read_examples({**rows, "topic": ["x", "y", "z"]}, "retrieval", {"cluster": "topic"})
    for topics in ({"q2": "a", "q1": "b"}, ["b", "a"]):
        data = {"queries": QUERIES, "corpus": CORPUS, "relevant": RELEVANT, "topics": topics}
        clusters = read_examples(data, columns={"cluster": "topics"}).clusters
        assert clusters is not None and clusters.tolist() == [0, 1]
    for topics in ({"q1": "b"}, ["b"], {"q1": "a", "q2": None}):
        data = {"queries": QUERIES, "corpus": CORPUS, "relevant": RELEVANT, "topics": topics}
        with pytest.raises(InputError, match="cluster"):
            read_examples(data, columns={"cluster": "topics"})
    with pytest.raises(InputError, match="no part 'topic'"):
        read_examples(data, columns={"cluster": "topic"})


def test_parts_of_a_collection_have_their_names() -> None:
    with pytest.raises(UsageError, match="renamed"):
        read_examples({"queries": QUERIES, "corpus": CORPUS, "relevant": RELEVANT}, columns={"query": "queries"})
