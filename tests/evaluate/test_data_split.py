"""Parts of a data set: by rows, by chance, and without a text on two sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.errors import InputError, UsageError
from QEfficient.evaluate.data import (
    groups_by_text,
    read_examples,
    split_by_chance,
    split_by_text,
    subset,
    text_pairs,
)
from QEfficient.evaluate.record import Examples
from tests import lee_corpus
from tests.evaluate.data_cases import CASES


def pairs(*names: str) -> Examples:
    """Pairs of one-letter texts."""
    return read_examples([(a, b, 1.0) for a, b in names], "similarity")


def numbered(rows: int) -> Examples:
    return read_examples([(f"text {n}", n % 2) for n in range(rows)], "text-classification")


def test_a_subset_has_its_rows_and_its_own_digest() -> None:
    data = {"text": list("abc"), "label": [0, 1, 0], "doc": ["x", "y", "x"]}
    whole = read_examples(data, "text-classification", {"cluster": "doc"})
    part = subset(whole, [2, 0])
    assert part.columns == {"text": ["c", "a"], "label": [0, 0]}
    assert part.clusters is not None and part.clusters.tolist() == [0, 0]
    assert part.digest == read_examples([("c", 0), ("a", 0)], "text-classification").digest
    assert part.name == "2 of 3 rows of mapping of 3 rows"
    assert subset(whole, np.array([True, False, False])).columns["text"] == ["a"]


def test_a_subset_keeps_the_corpus() -> None:
    whole = read_examples([("p", "a"), ("q", "b")], "retrieval")
    part = subset(whole, [1])
    assert (part.columns, part.corpus) == ({"query": ["q"], "relevant": [{1: 1}]}, ("a", "b"))


def test_parts_are_read_as_they_are() -> None:
    part = subset(numbered(4), [3, 1])
    assert read_examples(part) is read_examples(part, "text-classification", limit=2) is part
    assert read_examples(part, limit=1).columns["text"] == ["text 3"]
    for more in ({"task": "regression"}, {"columns": {"text": "label"}}):
        with pytest.raises(UsageError, match="were read for text-classification"):
            read_examples(part, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [[], [3], [-1], [0, 0], [0.5], ["a"], [[0]], [True, False]])
def test_rows_that_are_not_there(rows: Any) -> None:
    with pytest.raises(InputError, match="no rows of the data set"):
        subset(numbered(3), rows)


def test_a_split_by_chance_is_the_permutation_of_its_seed() -> None:
    """The split of the movie reviews: 10,072 rows, 80/10/10, 1,008 for the test."""
    whole = numbered(10_072)
    order = np.random.default_rng(0).permutation(10_072)
    parts = split_by_chance(whole, (0.8, 0.1, 0.1))
    assert [len(part) for part in parts] == [8_057, 1_007, 1_008]
    assert [text for part in parts for text in part.columns["text"]] == [f"text {n}" for n in order]
    assert [part.digest for part in split_by_chance(whole, [0.8, 0.1, 0.1], 0)] == [part.digest for part in parts]
    assert split_by_chance(whole, (0.8, 0.1, 0.1), 1)[2].digest != parts[2].digest


def test_shares_that_sums_of_floats_fall_short_of() -> None:
    assert [len(part) for part in split_by_chance(numbered(10), (0.1, 0.2, 0.7))] == [1, 2, 7]
    assert [len(part) for part in split_by_chance(numbered(10), [0.1] * 10)] == [1] * 10


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.6), (0.5, 0.4), (1.2, -0.2), (0.0, 1.0), "ab", ("a", "b"), 5, None])
@pytest.mark.parametrize("split", [split_by_chance, split_by_text])
def test_shares_that_make_no_whole(split: Any, shares: Any) -> None:
    with pytest.raises(UsageError, match="shares"):
        split(numbered(4), shares)


@pytest.mark.parametrize("seed", [-1, 0.5, "a", None])
@pytest.mark.parametrize("split", [split_by_chance, split_by_text])
def test_a_seed_that_is_none(split: Any, seed: Any) -> None:
    with pytest.raises(UsageError, match="seed"):
        split(numbered(4), (0.5, 0.5), seed)


def test_parts_without_rows() -> None:
    with pytest.raises(InputError, match="no rows"):
        split_by_chance(numbered(2), (0.4, 0.6))
    with pytest.raises(InputError, match="no rows"):
        split_by_text(pairs("ab", "bc", "cd"), (0.5, 0.5))


def test_rows_hang_together_by_the_texts_they_share() -> None:
    assert groups_by_text(pairs("ab", "cd", "bc", "ef", "gg")).tolist() == [0, 0, 0, 1, 2]
    assert groups_by_text(pairs("ab", "cd")).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("rows", "task", "groups"),
    [
        ([("a", 0), ("b", 1), ("a", 1)], "text-classification", [0, 1, 0]),
        ([(["a", "b"], [0, 1]), (["a"], [0]), (["a", "b"], [0, 0])], "token-classification", [0, 1, 0]),
        ([("p", "c", "x"), ("q", "c", "y"), ("r", "d", "z")], "question-answering", [0, 0, 1]),
        ([("p", ["a"], ["n"]), ("q", ["b"], ["n", "a"]), ("r", ["a"], ["n"])], "reranking", [0, 1, 0]),
        ([("p", "a"), ("q", "b"), ("r", "a")], "retrieval", [0, 1, 0]),
        ([("p", ["yes", "no"], 0), ("q", ["yes", "no"], 1), ("p", ["x", "y"], 0)], "multiple-choice", [0, 1, 0]),
        ([([0.0, 1.0], "a"), ([0.0, 1.0], "b"), ([0.5, 1.0], "a")], "automatic-speech-recognition", [0, 0, 0]),
        ([([0.0, 1.0], 1), ([0.0, 1.0], 1), ([0.5, 1.0], 1)], "audio-classification", [0, 0, 1]),
    ],
)
def test_what_counts_as_shared(rows: Any, task: str, groups: list[int]) -> None:
    assert groups_by_text(read_examples(rows, task)).tolist() == groups


def test_clusters_hang_together() -> None:
    data = {"text": list("abc"), "label": [0, 1, 0], "doc": ["x", "y", "x"]}
    assert groups_by_text(read_examples(data, "text-classification", {"cluster": "doc"})).tolist() == [0, 1, 0]


IN_BLOCKS = st.tuples(st.integers(0, 9), st.integers(0, 8), st.integers(0, 8))


@given(st.lists(IN_BLOCKS, min_size=20, max_size=60), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_no_text_stands_on_two_sides(drawn: list[tuple[int, int, int]], seed: int) -> None:
    edges = [*drawn, *((block, 0, 1) for block in range(3))]  # texts of two blocks never hang together
    whole = read_examples([(f"{block} {a}", f"{block} {b}", 0.5) for block, a, b in edges], "similarity")
    assert len(set(groups_by_text(whole).tolist())) >= 3
    parts = split_by_text(whole, (0.6, 0.2, 0.2), seed)
    sides = [{*part.columns["text"], *part.columns["pair"]} for part in parts]
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert sorted(text for part in parts for text in part.columns["text"]) == sorted(whole.columns["text"])


def test_shares_are_kept_where_texts_allow_it() -> None:
    names = [(f"a{n // 2}", f"b{n}", 1.0) for n in range(1_000)]  # two rows a text
    whole = read_examples(names, "similarity")
    parts = split_by_text(whole, (0.8, 0.1, 0.1), seed=3)
    assert [len(part) for part in parts] == [800, 100, 100]
    rows = [int(text.removeprefix("b")) for text in parts[0].columns["pair"]]
    assert rows == sorted(rows)
    assert [one.digest for one in split_by_text(whole, (0.8, 0.1, 0.1), 3)] == [one.digest for one in parts]
    assert split_by_text(whole, (0.8, 0.1, 0.1), 4)[1].digest != parts[1].digest
    assert abs(np.mean(rows) - 499.5) < 40  # drawn by chance, not the first ones


def test_which_texts_a_pair_holds() -> None:
    found = text_pairs(pairs("ab", "bc", "dd"))
    assert found is not None
    assert found.tolist() == [[0, 1], [1, 2], [3, 3]]
    assert text_pairs(pairs("ab", "cd", "ee")) is None
    assert text_pairs(numbered(3)) is None


def test_the_pairs_of_the_lee_corpus_hang_together_by_their_documents() -> None:
    documents, scores = lee_corpus.documents(), lee_corpus.similarities()
    first, second = np.triu_indices(len(documents), 1)
    rows = [(documents[i], documents[j], scores[i, j]) for i, j in zip(first, second, strict=True)]
    whole = read_examples(rows, "similarity")
    found = text_pairs(whole)
    assert found is not None
    assert found.tolist() == [[i, j] for i, j in zip(first.tolist(), second.tolist(), strict=True)]
    with pytest.raises(InputError, match="1225, 0 rows, of 1225"):
        split_by_text(whole, (0.8, 0.2))


@pytest.mark.parametrize("task", CASES)
def test_every_task_can_be_split(task: str) -> None:
    whole = read_examples(CASES[task][0], task)
    sizes = ([1, 1], [1, 2], [2, 1])
    assert [len(part) for part in split_by_chance(whole, (0.5, 0.5))] in sizes
    if len(set(groups_by_text(whole).tolist())) > 1:
        assert [len(part) for part in split_by_text(whole, (0.5, 0.5))] in sizes
    else:
        with pytest.raises(InputError, match="no rows"):
            split_by_text(whole, (0.5, 0.5))
