"""What can't be used is refused before anything runs, by row, with what to do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pytest

from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.evaluate.data import check_classes, read_examples

TEXT = ["a", "b", "c"]


def error(data: Any, task: str | None = None, columns: Any = None, **more: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read_examples(data, task, columns, **more)
    text = str(caught.value)
    assert "got:" in text and "allowed:" in text and "do:" in text
    return text


# Task, columns, and what the error must say.
BAD: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "a text is None": (
        "text-classification",
        {"text": ["a", None, "c"], "label": [0, 1, 0]},
        ("text", "row 1", "None"),
    ),
    "a text is NaN": ("text-classification", {"text": ["a", "b", math.nan], "label": [0, 1, 0]}, ("row 2", "nan")),
    "a text is a number": ("regression", {"text": ["a", 5, "c"], "score": [0.0, 1, 0]}, ("row 1", "5")),
    "a text is empty": ("similarity", {"text": TEXT, "pair": ["a", " ", "c"], "score": [1, 2, 3]}, ("pair", "row 1")),
    "a text is bytes": ("regression", {"text": ["a", b"b", "c"], "score": [1, 2, 3]}, ("row 1", "b'b'")),
    "a score is NaN": ("regression", {"text": TEXT, "score": [1.0, math.nan, 2]}, ("score", "row 1", "nan")),
    "a score is infinite": ("regression", {"text": TEXT, "score": [1.0, 2, math.inf]}, ("row 2", "inf")),
    "a score is text": ("regression", {"text": TEXT, "score": [1.0, "2", 3]}, ("row 1", "'2'")),
    "a score is missing": ("regression", {"text": TEXT, "score": [None, 1, 2]}, ("row 0", "None")),
    "a score is too large": ("regression", {"text": TEXT, "score": [1, 2, 10**400]}, ("score", "row 2")),
    "several rows": ("regression", {"text": TEXT, "score": [math.nan, 1, None]}, ("2 of 3 rows", "rows 0, 2")),
    "a label is None": ("text-classification", {"text": TEXT, "label": [0, None, 1]}, ("label", "row 1")),
    "a label is NaN": ("text-classification", {"text": TEXT, "label": ["a", math.nan, "b"]}, ("label", "row 1")),
    "a label is negative": ("text-classification", {"text": TEXT, "label": [0, -1, 1]}, ("label", "row 1", "-1")),
    "a label is a fraction": ("text-classification", {"text": TEXT, "label": [0.5, 1.0, 2.5]}, ("regression",)),
    "a label is empty": ("text-classification", {"text": TEXT, "label": ["a", "", "b"]}, ("label", "row 1")),
    "a label is a list": ("text-classification", {"text": TEXT, "label": [[0], [1], [0]]}, ("label", "rows 0, 1, 2")),
    "a name among numbers": ("text-classification", {"text": TEXT, "label": [0, "one", 1]}, ("a name among", "row 1")),
    "a number among names": (
        "text-classification",
        {"text": TEXT, "label": ["a", "b", 2]},
        ("a number among", "row 2"),
    ),
    "labels are no list": ("multi-label", {"text": TEXT, "labels": [[0], 1, [2]]}, ("labels", "row 1", "[]")),
    "labels are mixed": ("multi-label", {"text": TEXT, "labels": [[0], ["a"], [2]]}, ("a name among", "row 1")),
    "labels are negative": ("multi-label", {"text": TEXT, "labels": [[0], [-1], [2]]}, ("labels", "row 1")),
    "fewer tags than tokens": (
        "token-classification",
        {"tokens": [["a", "b"], ["c", "d"]], "tags": [["O", "O"], ["O"]]},
        ("tags", "row 1", "1 and 2"),
    ),
    "a tag of pieces": ("token-classification", {"tokens": [["a"]], "tags": [[-100]]}, ("tags", "row 0", "-100")),
    "tags are mixed": ("token-classification", {"tokens": [["a", "b"]], "tags": [["O", 1]]}, ("among", "row 0")),
    "tokens are a text": ("token-classification", {"tokens": ["a b"], "tags": [["O", "O"]]}, ("split", "row 0")),
    "a token is empty": ("token-classification", {"tokens": [["a", ""]], "tags": [[0, 0]]}, ("tokens", "row 0")),
    "no tokens": ("token-classification", {"tokens": [["a"], []], "tags": [[0], []]}, ("tokens", "row 1")),
    "answers are None": (
        "question-answering",
        {"question": TEXT, "context": TEXT, "answers": ["a", None, "c"]},
        ("answers", "row 1", "[]"),
    ),
    "starts without answers": (
        "question-answering",
        {"question": ["q"], "context": ["c"], "answers": [{"text": ["a", "b"], "answer_start": [1]}]},
        ("answers", "row 0"),
    ),
    "no mask": ("fill-mask", {"text": ["a [MASK]", "b"], "target": ["x", "y"]}, ("mask", "row 1", "[MASK]")),
    "two masks": ("fill-mask", {"text": ["a [MASK] <mask>"], "target": ["x"]}, ("mask", "row 0")),
    "no target": ("fill-mask", {"text": ["a [MASK]"], "target": [""]}, ("target", "row 0")),
    "one choice": ("multiple-choice", {"prompt": ["p"], "choices": [["a"]], "label": [0]}, ("choices", "row 0")),
    "no such choice": (
        "multiple-choice",
        {"prompt": ["p", "q"], "choices": [["a", "b"], ["a", "b"]], "label": [1, 2]},
        ("row 1", "2", "2 choices"),
    ),
    "no such key": (
        "multiple-choice",
        {"prompt": ["p"], "choices": [{"text": ["a", "b"], "label": ["A", "B"]}], "label": ["C"]},
        ("row 0", "'C'", "'A', 'B'"),
    ),
    "no relevant document": (
        "reranking",
        {"query": ["p", "q"], "positives": [["a"], []], "negatives": [["b"], ["c"]]},
        ("no relevant", "row 1", "'q'"),
    ),
    "relevant and not": (
        "reranking",
        {"query": ["p"], "positives": [["a", "b"]], "negatives": [["b"]]},
        ("positives", "negatives", "row 0"),
    ),
    "fewer grades than documents": (
        "reranking",
        {"query": ["p"], "documents": [["a", "b"]], "grades": [[1]]},
        ("grades", "row 0"),
    ),
    "a grade is negative": (
        "reranking",
        {"query": ["p"], "documents": [["a", "b"]], "grades": [[1, -1]]},
        ("grades", "row 0"),
    ),
    "a document is None": (
        "reranking",
        {"query": ["p"], "positives": [["a"]], "negatives": [[None]]},
        ("negatives", "row 0"),
    ),
    "only grades of 0": ("retrieval", {"query": ["p"], "document": ["a"], "grade": [0]}, ("no relevant", "row 0")),
    "a transcript is None": (
        "automatic-speech-recognition",
        {"audio": [np.zeros(4)], "text": [None]},
        ("text", "row 0", "None"),
    ),
    "a clip is text": ("audio-classification", {"audio": ["no.wav"], "label": [0]}, ("audio", "row 0", "no.wav")),
    "a clip of two channels": ("audio-classification", {"audio": [np.zeros((2, 4))], "label": [0]}, ("audio", "row 0")),
    "a clip with NaN": ("audio-classification", {"audio": [np.array([0, math.nan])], "label": [0]}, ("audio", "row 0")),
    "an image is not there": (
        "image-classification",
        {"image": ["no.png"], "label": [0]},
        ("image", "row 0", "no.png"),
    ),
    "an image is no image": ("image-classification", {"image": [b"text"], "label": [0]}, ("image", "row 0")),
    "an image of one dim": ("image-classification", {"image": [np.zeros(3)], "label": [0]}, ("image", "row 0")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_value_that_can_not_be_used_is_refused_by_row(name: str) -> None:
    task, columns, says = BAD[name]
    found = error(columns, task)
    assert all(text in found for text in says), found


def test_missing_values_of_pandas_and_polars() -> None:
    assert "row 1" in error(pd.DataFrame({"text": TEXT, "score": pd.array([1, None, 2], "Int64")}), "regression")
    assert "row 1" in error(
        pd.DataFrame({"text": pd.Series(["a", None, "c"], dtype="string"), "score": 1}), "regression"
    )
    assert "row 1" in error(pd.DataFrame({"text": ["a", None, "c"], "score": [1, 2, 3]}), "regression")
    assert "row 1" in error(pl.DataFrame({"text": ["a", None, "c"], "score": [1, 2, 3]}), "regression")


def test_a_missing_column_names_role_columns_and_what_to_pass() -> None:
    found = error({"body_text": TEXT, "label": [0, 1, 0]}, "text-classification")
    assert "text of text-classification" in found and "body_text, label" in found and "columns={'text': \"" in found
    found = error({"query": TEXT, "positive": TEXT}, "reranking")
    assert "query, positives, negatives or query, documents, grades" in found and "query, positive" in found


def test_two_columns_that_may_be_meant() -> None:
    found = error({"sentence": TEXT, "review": TEXT, "label": [0, 1, 0]}, "text-classification")
    assert "'sentence' and 'review'" in found and "columns={'text': 'sentence'}" in found
    columns = {"text": "review"}
    data = {"sentence": ["x"], "review": ["a"], "label": [0]}
    assert read_examples(data, "text-classification", columns).columns["text"] == ["a"]


def test_columns_that_are_not_there() -> None:
    data = {"text": TEXT, "label": [0, 1, 0]}
    assert "Did you mean 'text'" in error(data, "text-classification", {"txt": "text"})
    assert "Did you mean 'label'" in error(data, "text-classification", {"label": "lable"})
    assert "not a list" in error(data, "text-classification", {"text": ["text", "label"]})
    assert "mapping" in error(data, "text-classification", "text")
    assert "label" in error(data, "text-classification", {"label": None})


def test_an_unknown_task_or_limit() -> None:
    assert "Did you mean 'similarity'" in error({"text": TEXT}, "similarty")
    with pytest.raises(OptionError, match="limit"):
        read_examples({"text": TEXT}, "similarity", limit=0)


@pytest.mark.parametrize(
    "empty",
    [
        [],
        {},
        {"text": [], "label": []},
        pd.DataFrame({"text": [], "label": []}),
        pl.DataFrame({"text": [], "label": []}),
        datasets.Dataset.from_dict({"text": [], "label": []}),
        (row for row in ()),
    ],
    ids=["list", "dict", "columns", "pandas", "polars", "Dataset", "generator"],
)
def test_an_empty_set(empty: Any) -> None:
    assert "no rows" in error(empty, "text-classification")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_an_empty_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_text("")
    assert "no rows" in error(path, "regression")
    path.write_text("text,score\n" if suffix == "csv" else "\n")
    assert "no rows" in error(path, "regression")


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert "no file" in error(tmp_path / "x.csv", "regression")
    assert "load_dataset" in error("stanfordnlp/imdb", "text-classification")
    assert "folder" in error(tmp_path, "regression")


def test_an_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_text("x")
    found = error(tmp_path / "x.xlsx", "regression")
    assert "'.xlsx'" in found and ".parquet" in found


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.jsonl", '{"text": "a", "score": 1}\n\n{"text": "b", \n', ("Line 3", '{"text": "b",')),
        ("x.jsonl", '{"text": "a", "score": 1}\n[1, 2]\n', ("Line 2", "object")),
        ("x.json", '[{"text": "a"},\n{"text" "b"}]', ("Line 2", "x.json")),
        ("x.json", '{"text": "a", "score": 1}\n{"text"', ("Line 2",)),
        ("x.csv", "text,score\na,1\nb,2,3\n", ("Line 3", "3 fields", "text, score")),
        ("x.csv", 'text,score\na,1\n"b" c,2\n', ("Line 3",)),
        ("x.csv", "text,text\na,b\n", ("'text'",)),
        ("x.csv", "text,score\na,\n", ("score", "row 0")),
        ("x.csv", "text,score\n,1\n", ("text", "row 0")),
        ("x.csv", "text,score\na,one\n", ("score", "row 0", "'one'")),
        ("x.parquet", "PAR1 no", ("x.parquet",)),
        ("x.json", '"other.csv"', ("Line 1", "list of rows")),
        ("x.json", '{"text": "a", "score": 1}', ("text", "single string")),
    ],
)
def test_a_broken_file(name: str, text: str, says: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = error(tmp_path / name, "regression")
    assert all(one in found for one in says), found


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("text,score\nKäse,1\n".encode("latin-1"))
    assert "UTF-8" in error(tmp_path / "x.csv", "regression")


def test_rows_that_do_not_fit_each_other() -> None:
    assert "row 1" in error([{"text": "a", "score": 1}, {"text": "b"}], "regression")
    assert "row 1" in error([("a", 1), ("b",)], "regression")
    assert "row 1" in error([("a", 1), "b"], "regression")
    assert "row 0" in error(TEXT, "regression")
    assert "(text, score)" in error([("a",)], "regression")
    assert "text: 3, score: 2" in error({"text": TEXT, "score": [1, 2]}, "regression")
    assert "no container" in error(5, "regression")
    assert "pass data['test']" in error(
        datasets.DatasetDict(
            train=datasets.Dataset.from_dict({"text": TEXT}), test=datasets.Dataset.from_dict({"text": TEXT})
        ),
        "regression",
    )
    assert "'a'" in error(pd.DataFrame([[1, 2]], columns=["a", "a"]), "regression")


def test_clusters_that_are_missing() -> None:
    data = {"text": TEXT, "score": [1, 2, 3], "doc": ["x", None, "y"]}
    assert "cluster" in (found := error(data, "regression", {"cluster": "doc"})) and "row 1" in found


@pytest.mark.parametrize(
    ("task", "columns", "role"),
    [
        ("text-classification", {"text": TEXT, "label": [1, 1, 1]}, "label"),
        ("multi-label", {"text": TEXT, "labels": [[1], [1], [1]]}, "labels"),
        ("token-classification", {"tokens": [["a"], ["b", "c"]], "tags": [["O"], ["O", "O"]]}, "tags"),
        ("regression", {"text": TEXT, "score": [0.5, 0.5, 0.5]}, "score"),
        ("similarity", {"text": TEXT, "pair": TEXT, "score": [0.5, 0.5, 0.5]}, "score"),
    ],
)
def test_one_class_only(task: str, columns: dict[str, Any], role: str) -> None:
    with pytest.raises(InputError, match=f"same {role}"):
        check_classes(read_examples(columns, task))
    changed = {
        **columns,
        list(columns)[-1]: [*list(columns.values())[-1][:-1], {"label": 2, "labels": [2]}.get(role, 9.0)],
    }
    if role != "tags":
        check_classes(read_examples(changed, task))


def test_other_tasks_have_no_classes() -> None:
    check_classes(read_examples({"prompt": ["p"], "choices": [["a", "b"]], "label": [0]}, "multiple-choice"))
    check_classes(read_examples({"query": ["p"], "document": ["a"]}, "retrieval"))
