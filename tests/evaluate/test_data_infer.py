"""What data is for, where it is not said: told by the model and the columns, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from QEfficient.errors import UsageError
from QEfficient.evaluate.data import TASKS, read_examples
from tests.evaluate.data_cases import CASES, SOURCES

T = ["a", "b"]
RERANK = {"query": T, "positive": ["c", "d"], "negatives": [["e"], ["f"]]}

INFERRED: list[tuple[str, dict[str, Any], str]] = [
    ("feature-extraction", {"sentence1": T, "sentence2": T, "score": [1, 2]}, "similarity"),
    ("feature-extraction", {"text1": T, "text2": T, "label": [0, 1]}, "similarity"),
    ("feature-extraction", RERANK, "reranking"),
    ("feature-extraction", {"query": T, "documents": [["a"], ["b"]], "grades": [[1], [1]]}, "reranking"),
    ("feature-extraction", {"query": T, "document": T}, "retrieval"),
    ("feature-extraction", {"anchor": T, "positive": T}, "retrieval"),
    ("feature-extraction", {"queries": T, "corpus": T, "relevant": [[0], [1]]}, "retrieval"),
    ("text-classification", {"text": T, "label": [0, 1]}, "text-classification"),
    ("text-classification", {"text": T, "label": ["x", "y"]}, "text-classification"),
    ("text-classification", {"premise": T, "hypothesis": T, "label": [0, 1]}, "text-classification"),
    ("text-classification", {"text": T, "labels": [[0], [1, 2]]}, "multi-label"),
    ("text-classification", {"text": T, "label": [0.5, 1.0]}, "regression"),
    ("text-classification", {"text1": T, "text2": T, "score": [0.5, 1.0]}, "regression"),
    ("text-classification", RERANK, "reranking"),
    ("token-classification", {"tokens": [["a"], ["b"]], "tags": [[0], [1]]}, "token-classification"),
    ("fill-mask", {"text": ["[MASK]"], "target": ["a"]}, "fill-mask"),
]


@pytest.mark.parametrize(("model", "columns", "task"), INFERRED)
def test_told_by_the_columns(model: str, columns: dict[str, Any], task: str) -> None:
    assert read_examples(columns, model_task=model).task == task


def test_told_of_a_text_file(tmp_path: Path) -> None:
    for labels, task in (
        ([0, 1], "text-classification"),
        ([0.5, 1.25], "regression"),
        ([[0], [1, 2]], "multi-label"),
        (["x", "y"], "text-classification"),
    ):
        path = SOURCES["CSV"]({"text": T, "label": labels}, tmp_path)
        assert read_examples(path, model_task="text-classification").task == task


def test_told_with_missing_values_in_between() -> None:
    frame = pd.DataFrame({"text": T, "label": [None, 0.5]})
    with pytest.raises(UsageError, match="score"):  # a regression, whose first score is missing
        read_examples(frame, model_task="text-classification")


def test_told_with_columns_that_the_caller_names() -> None:
    data = {"a": T, "b": T, "c": [0.5, 1]}
    columns = {"text": "a", "pair": "b", "score": "c"}
    assert read_examples(data, None, columns, model_task="feature-extraction").task == "similarity"
    assert read_examples(data, None, columns, model_task="text-classification").task == "regression"


def test_tuples_of_a_model_with_one_task() -> None:
    assert read_examples([(["a"], ["O"])], model_task="token-classification").task == "token-classification"


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("feature-extraction", {"text": T, "label": [0, 1]}),
        ("feature-extraction", {"query": T, "document": T, "grade": [1, 1]}),
        ("feature-extraction", {"query": T, "passage": T, "sentence1": T, "sentence2": T, "score": [1, 2]}),
        ("feature-extraction", [("a", "b", 1.0)]),
        ("text-classification", [("a", 1)]),
        ("text-classification", {"query": T, "document": T, "label": [0, 1]}),
        (None, {"text": T, "label": [0, 1]}),
        ("text-generation", {"text": T, "label": [0, 1]}),
    ],
)
def test_unclear(model: str | None, data: Any) -> None:
    with pytest.raises(UsageError, match="not clear") as caught:
        read_examples(data, model_task=model)
    assert all(task in str(caught.value) for task in TASKS)
    assert "pass task=" in str(caught.value)


@pytest.mark.parametrize("task", CASES)
def test_models_of_one_task_need_no_more(task: str) -> None:
    if task in ("question-answering", "fill-mask", "multiple-choice", "token-classification"):
        assert read_examples(CASES[task][0], model_task=task).columns == CASES[task][1]
