"""Every container gives the same examples, for every task, under names that people use."""

from __future__ import annotations

import builtins
import csv
import importlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from QEfficient.errors import InputError, MissingExtraError
from QEfficient.evaluate.data import TASKS, read_examples
from QEfficient.evaluate.data.values import KINDS
from tests.evaluate.data_cases import CASES, SOURCES, rows_of


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("task", CASES)
def test_every_source_gives_the_same_examples(task: str, source: str, tmp_path: Path) -> None:
    columns, expected = CASES[task]
    found = read_examples(SOURCES[source](columns, tmp_path), task)
    assert found.task == task
    assert found.columns == expected
    assert {role: [type(value) for value in values] for role, values in found.columns.items()} == {
        role: [type(value) for value in values] for role, values in expected.items()
    }
    assert found.digest == read_examples(columns, task).digest
    assert len(found) == len(next(iter(expected.values())))


@pytest.mark.parametrize("task", [task for task in CASES if task not in ("text-classification",)])
def test_tuples_are_in_the_order_of_the_roles(task: str) -> None:
    columns, expected = CASES[task]
    assert read_examples(list(zip(*columns.values(), strict=True)), task).columns == expected


def test_tuples_with_and_without_what_may_be_left_out() -> None:
    assert dict(read_examples([("a", 1), ("b", 0)], "text-classification").columns) == {
        "text": ["a", "b"],
        "label": [1, 0],
    }
    assert list(read_examples([("a", "b", 1)], "text-classification").columns) == ["text", "pair", "label"]


def test_every_task_is_tried_and_every_kind_is_known() -> None:
    assert set(CASES) | {"image-classification", "audio-classification", "automatic-speech-recognition"} == set(TASKS)
    assert {role.kind for task in TASKS.values() for role in task.roles} | {"cluster"} == set(KINDS)


def test_a_limit_takes_the_first_rows_of_every_source(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"text": list("abcdef"), "label": [0, 1, 0, 1, 0, 1]}
    for name, source in SOURCES.items():
        found = read_examples(source(columns, tmp_path), "text-classification", limit=2)
        assert found.columns == {"text": ["a", "b"], "label": [0, 1]}, name


def test_a_limit_ends_what_has_no_end() -> None:
    endless = ({"text": str(n), "label": n} for n in iter(int, 1) for n in [0, 1])
    assert len(read_examples(endless, "text-classification", limit=5)) == 5


def test_scalars_of_other_libraries_count_as_pythons_own() -> None:
    labels: list[Any] = [np.int64(1), np.True_, torch.tensor(2), True, 3]
    texts = [np.str_("a"), "b", "c", "d", "e"]
    found = read_examples({"text": texts, "label": labels}, "text-classification")
    assert found.columns == {"text": list("abcde"), "label": [1, 1, 2, 1, 3]}
    assert {type(value) for value in found.columns["label"]} == {int}
    scores: list[Any] = [np.float32(0.5), Decimal("0.25"), 1, np.int8(2)]
    assert read_examples({"text": list("abcd"), "score": scores}, "regression").columns["score"] == [
        0.5,
        0.25,
        1.0,
        2.0,
    ]


@pytest.mark.parametrize(
    "labels",
    [
        pd.Categorical(["pos", "neg"], categories=["pos", "neg"]),
        pd.Series(["pos", "neg"], dtype="string"),
        pl.Series(["pos", "neg"], dtype=pl.Categorical),
        pl.Series(["pos", "neg"], dtype=pl.Enum(["pos", "neg"])),
        np.array(["pos", "neg"]),
    ],
    ids=["pandas Categorical", "pandas string", "polars Categorical", "polars Enum", "numpy"],
)
def test_columns_of_other_types(labels: Any) -> None:
    frame = pl.DataFrame if isinstance(labels, pl.Series) else pd.DataFrame
    for data in ({"text": ["a", "b"], "label": labels}, frame({"text": ["a", "b"], "label": labels})):
        assert read_examples(data, "text-classification").columns["label"] == ["pos", "neg"]


def test_arrays_in_the_cells_of_a_frame() -> None:
    frame = pd.DataFrame({"tokens": [np.array(["a", "b"]), ("c",)], "tags": [np.array([0, 1]), torch.tensor([2])]})
    found = read_examples(frame, "token-classification")
    assert found.columns == {"tokens": [["a", "b"], ["c"]], "tags": [[0, 1], [2]]}


def test_names_of_labels_come_along() -> None:
    label = datasets.ClassLabel(names=["neg", "pos"])
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}).cast_column("label", label)
    for one in (data, data.to_iterable_dataset()):
        found = read_examples(one, "text-classification")
        assert (found.columns["label"], found.label_names) == ([1, 0], ("neg", "pos"))
    tags = datasets.Dataset.from_dict({"tokens": [["a"], ["b"]], "ner_tags": [[1], [0]]})
    tags = tags.cast_column("ner_tags", datasets.List(datasets.ClassLabel(names=["O", "B-PER"])))
    assert read_examples(tags, "token-classification").label_names == ("O", "B-PER")


def test_rows_of_zeros_and_ones_are_positions() -> None:
    matrix = [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    expected = [[1, 2], [], [0]]
    for rows in (matrix, np.array(matrix, bool).tolist(), np.array(matrix, float).tolist()):
        found = read_examples({"text": list("abc"), "labels": rows}, "multi-label")
        assert (found.columns["labels"], found.label_names) == (expected, ("0", "1", "2"))
    wide = {"text": list("abc"), "toxic": [0, 0, 1], "rude": [1, 0, 0], "mad": [1, 0, 0]}
    found = read_examples(wide, "multi-label", {"labels": ["toxic", "rude", "mad"]})
    assert (found.columns["labels"], found.label_names) == (expected, ("toxic", "rude", "mad"))


def test_lists_of_numbers_are_not_zeros_and_ones() -> None:
    for rows in ([[0, 1], [1]], [[0, 2], [1, 2]], [[0], [1]]):
        found = read_examples({"text": ["a", "b"], "labels": rows}, "multi-label")
        assert (found.columns["labels"], found.label_names) == (rows, ())


def test_choices_in_several_columns() -> None:
    data = {"ctx": ["x", "y"], "ending0": ["a", "b"], "ending1": ["c", "d"], "label": ["1", "0"]}  # HellaSwag's
    found = read_examples(data, "multiple-choice", {"choices": ["ending0", "ending1"]})
    assert found.columns == {"prompt": ["x", "y"], "choices": [["a", "c"], ["b", "d"]], "label": [1, 0]}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["two", "", "b"], [["two"], [], ["b"]]),
        ([["two", "2"], [], ["b"]], [["two", "2"], [], ["b"]]),
        ([[{"text": "two", "answer_start": 4}], [], ["b"]], [["two"], [], ["b"]]),
    ],
)
def test_answers_in_every_form(answers: list[Any], expected: list[list[str]]) -> None:
    found = read_examples({"question": ["q"] * 3, "context": ["c"] * 3, "answers": answers}, "question-answering")
    assert found.columns["answers"] == expected
    assert "starts" not in found.columns


def test_words_in_brackets_stay_text(tmp_path: Path) -> None:
    """Only roles that are lists are read as such, and only in text files."""
    path = tmp_path / "x.csv"
    path.write_text('text,label\n"[1, 2]",1\n"[MASK]",0\n')
    assert read_examples(path, "text-classification").columns["text"] == ["[1, 2]", "[MASK]"]


def test_labels_of_a_text_file_are_numbers_where_all_are(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label\n\na,1\nb,0\n")
    assert read_examples(path, "text-classification").columns["label"] == [1, 0]
    path.write_text("text,label\na,1\nb,x\n")
    assert read_examples(path, "text-classification").columns["label"] == ["1", "x"]


def test_json_of_a_line_each_under_the_other_suffix(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("\ufeff" + "\n".join(json.dumps(row) for row in rows_of({"text": ["a", "b"], "label": [0, 1]})))
    assert read_examples(path, "text-classification").columns["text"] == ["a", "b"]


def test_the_name_is_for_people(tmp_path: Path) -> None:
    columns = CASES["regression"][0]
    assert read_examples(SOURCES["CSV"](columns, tmp_path), "regression").name == "data.csv"
    assert read_examples(pd.DataFrame(columns), "regression").name == "DataFrame of 2 rows"
    assert read_examples(rows_of(columns), "regression").name == "list of 2 rows"


def test_columns_that_the_caller_names() -> None:
    data = {"review_body": ["a", "b"], "stars": [1, 2], "label": ["x", "y"], "text_b": ["c", "d"]}
    found = read_examples(data, "text-classification", {"label": "stars", "pair": None})
    assert found.columns == {"text": ["a", "b"], "label": [1, 2]}
    numbered = pd.DataFrame([["a", 1], ["b", 0]])
    assert read_examples(numbered, "text-classification", {"text": 0, "label": 1}).columns["label"] == [1, 0]


def test_the_roles_own_name_goes_first() -> None:
    data = {"sentence": ["x"], "text": ["a"], "label": [1], "category": ["c"]}
    assert read_examples(data, "text-classification").columns == {"text": ["a"], "label": [1]}
    assert read_examples({"Sentence 1": ["x"], "Label": [1]}, "text-classification").columns["text"] == ["x"]


def test_parquet_without_pyarrow_is_read_by_polars_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = SOURCES["parquet"](CASES["regression"][0], tmp_path)
    true_import = importlib.import_module
    hidden = {"pyarrow.parquet"}

    def without(name: str, package: str | None = None) -> Any:
        if name in hidden:
            raise ModuleNotFoundError(name=name.partition(".")[0])
        return true_import(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    assert read_examples(path, "regression").columns == CASES["regression"][1]
    hidden |= {"polars", "pandas"}
    with pytest.raises(MissingExtraError, match=r"QEfficient\[evaluate\]"):
        read_examples(path, "regression")


def test_images_without_pillow_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "PIL":
            raise ModuleNotFoundError(name="PIL")
        return true_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"QEfficient\[evaluate\]"):
        read_examples({"image": [b"png"], "label": [0]}, "image-classification")


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_long_fields_of_text_files_are_read(tmp_path: Path, suffix: str) -> None:
    path, text, before = tmp_path / f"x.{suffix}", "a word " * 40_000, csv.field_size_limit()
    separator = "," if suffix == "csv" else "\t"
    path.write_text(f"text{separator}label\n{text}{separator}0\n")
    assert read_examples(path, "text-classification").columns["text"] == [text]
    assert csv.field_size_limit() == before
    path.write_text(f'text{separator}label\n"{text}')  # never closed
    with pytest.raises(InputError, match="Line 2"):
        read_examples(path, "text-classification")
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("task", ["text-classification", "regression", "multi-label"])
@pytest.mark.parametrize(("question", "text"), [("question", "sentence"), ("Query", "text")])
def test_a_question_beside_a_text_is_the_first_of_a_pair(task: str, question: str, text: str) -> None:
    label = [[0], [0, 1]] if task == "multi-label" else [0, 1]
    data = {text: ["It is in Paris.", "No."], "label": label, question: ["Where is it?", "Is it?"]}
    found = read_examples(data, task).columns
    assert (found["text"], found["pair"]) == (data[question], data[text])
    for columns in ({"text": text}, {"pair": None}):  # whoever says what he wants gets it
        alone = read_examples(data, task, columns).columns
        assert alone["text"] == data[text] and "pair" not in alone
    three = read_examples({**data, "sentence2": ["a", "b"]}, task, {"pair": "sentence2"}).columns
    assert (three["text"], three["pair"]) == (data[text], ["a", "b"])
