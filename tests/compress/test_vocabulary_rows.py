"""Which texts of what is handed in are read, and which rows are measured."""

from __future__ import annotations

from typing import Any

import pytest

from QEfficient.auto.compression.vocabulary_rows import VocabularyArgs, VocabularyRows, read_rows
from QEfficient.errors import InputError
from QEfficient.evaluate.data import read_examples
from QEfficient.tasks.catalogue import FEATURE_EXTRACTION, QUESTION_ANSWERING, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION
from QEfficient.tasks.task import Task


def read(data: object, eval: object = None, model: Task = FEATURE_EXTRACTION, **more: Any) -> VocabularyRows:
    given: dict[str, Any] = dict.fromkeys(VocabularyArgs.__dataclass_fields__)
    return read_rows(model, VocabularyArgs(**{**given, "data": data, "held_out": eval, **more}))


def texts(rows: Any) -> list[str]:
    return list(rows.columns["text"])


def test_texts_and_pairs_each_once() -> None:
    assert texts(read(["a", "b", "a"]).data) == ["a", "b"]
    pairs = [{"sentence1": "a", "sentence2": "b", "label": 1}, {"sentence1": "c", "sentence2": "b", "label": 0}]
    assert sorted(texts(read(pairs).data)) == ["a", "b", "c"]
    named = read([{"mine": "a", "text": "b"}], columns={"text": "mine", "label": "theirs"})
    assert texts(named.data) == ["a"]


@pytest.mark.parametrize(
    ("task", "model", "row", "found"),
    [
        (
            "question-answering",
            QUESTION_ANSWERING,
            {"question": "who", "context": "the cat", "answers": ["cat"]},
            {"who", "the cat"},
        ),
        ("token-classification", TOKEN_CLASSIFICATION, {"tokens": ["the", "cat"], "tags": ["O", "O"]}, {"the cat"}),
        (
            "reranking",
            FEATURE_EXTRACTION,
            {"query": "who", "documents": ["a cat", "a dog"], "grades": [1, 0]},
            {"who", "a cat", "a dog"},
        ),
    ],
)
def test_rows_of_a_task_with_columns_of_its_own(task: str, model: Task, row: dict[str, Any], found: set[str]) -> None:
    rows = read([row, row], [row], model, task=task)
    assert set(texts(rows.data)) == found == set(texts(rows.held_out))
    assert rows.answered is not None and rows.answered.task == task
    examples = read_examples([row], task)
    again = read(examples, examples, model)
    assert set(texts(again.data)) == found and again.answered is None  # nobody asked for metrics


def test_labels_are_needed_of_what_is_measured_only() -> None:
    labelled = [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    rows = read([{"text": "c"}], labelled, TEXT_CLASSIFICATION, task="text-classification", max_drop={"accuracy": 0.1})
    assert texts(rows.data) == ["c"] and rows.answered is not None and rows.guard is not None
    assert read(["c"], labelled, TEXT_CLASSIFICATION, max_drop={"accuracy": 0.1}).answered is not None
    assert read(["c"], ["d"]).answered is None
    asked = read(["c"], labelled, TEXT_CLASSIFICATION, max_drop={"score": 0.1}, score=lambda model: 1.0)
    assert asked.answered is None and texts(asked.held_out) == ["a", "b"]
    with pytest.raises(InputError, match="label"):
        read(["c"], [{"text": "d"}], TEXT_CLASSIFICATION, task="text-classification")
