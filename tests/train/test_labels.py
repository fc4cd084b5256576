"""Labels that do not fit the model are refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from QEfficient.errors import InputError
from QEfficient.evaluate.record import Examples
from QEfficient.train.features import HeadReader
from QEfficient.train.labels import Labels, labels_of, numbers, weights_of
from tests.train import small


def config(*names: str, count: int = 0) -> Any:
    known = names or tuple(f"LABEL_{number}" for number in range(count))
    return SimpleNamespace(num_labels=len(known), id2label=dict(enumerate(known)))


def test_names_come_from_the_rows_where_the_model_has_none() -> None:
    assert labels_of(["b", "a", "b"], config(count=2)).names == ("a", "b")
    assert labels_of(["b", "a"], config(count=3)).names == ("a", "b", "LABEL_2")


def test_names_come_from_the_data_set_where_it_says_them() -> None:
    assert labels_of([1, 0], config(count=2), ("no", "yes")).names == ("no", "yes")


def test_the_models_own_names_stay() -> None:
    assert labels_of(["NEG", "POS"], config("POS", "NEG")).names == ("POS", "NEG")
    assert labels_of([0, 1], config("POS", "NEG")).names == ("POS", "NEG")


def test_more_labels_than_the_model_has() -> None:
    with pytest.raises(InputError, match=r"more labels than the model[\s\S]*num_labels=3"):
        labels_of(["a", "b", "c"], config(count=2))


@pytest.mark.parametrize("values", [["a", "a"], [], [1, 1]])
def test_one_label_only(values: list[object]) -> None:
    with pytest.raises(InputError, match="the same label"):
        labels_of(values, config(count=2))


@pytest.mark.parametrize("label", [2, -1])
def test_a_number_out_of_range(label: int) -> None:
    with pytest.raises(InputError, match=r"out of range[\s\S]*row 5"):
        Labels(("a", "b")).position(label, 5, "training")


def test_a_name_that_the_model_has_not_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'positive'"):
        Labels(("positive", "negative")).position("positiv", 0, "held-out")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "3", None, True])
def test_a_score_that_is_no_number(value: object) -> None:
    with pytest.raises(InputError, match="row 1"):
        numbers([0.5, value], "training")


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    positions = [0, 0, 0, 1, 2, 2]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=positions)
    assert weights_of("balanced", Labels(("a", "b", "c")), positions) == pytest.approx(expected.tolist())


def test_weights_by_name_and_by_number() -> None:
    assert weights_of({"b": 3.0, "0": 2.0}, Labels(("a", "b", "c")), []) == [2.0, 3.0, 1.0]
    with pytest.raises(InputError, match="class_weights"):
        weights_of({"d": 3.0}, Labels(("a", "b")), [])


def test_a_model_with_names_is_trained_by_name_where_the_rows_number_them_otherwise() -> None:
    labels = labels_of([0, 1], config("low", "middle", "high"), ("high", "low")).of_rows(("high", "low"))
    assert [labels.position(number, row, "training") for row, number in enumerate([0, 1])] == [2, 0]
    for names in (("high", "unsure"), ("yes", "unsure")):
        with pytest.raises(InputError, match="'unsure'"):
            labels.of_rows(names).position(1, 0, "training")
    assert labels.of_rows(("0", "1")).position(1, 0, "training") == 1  # columns without names
    assert Labels(("LABEL_0", "LABEL_1")).of_rows(("no", "yes")).position(1, 0, "training") == 1


def test_numbers_are_names_where_the_model_calls_its_labels_so() -> None:
    labels = labels_of([1, 2], config("1", "2", "3"))
    assert [labels.position(number, 0, "training") for number in (1, 2, 3)] == [0, 1, 2]
    with pytest.raises(InputError, match="out of range"):
        labels.position(0, 0, "training")


def test_names_are_found_in_other_cases() -> None:
    assert [Labels(("Spam", "spam", "HAM")).position(name, 0, "training") for name in ("spam", "ham")] == [1, 2]


@pytest.mark.parametrize(
    ("task", "role", "values", "found"),
    [
        ("text-classification", "label", [0, 1], [1, 0]),
        ("multi-label", "labels", [[0], [0, 1]], [[0.0, 1.0], [1.0, 1.0]]),
        ("token-classification", "tags", [[0], [1]], [[-100, 1, -100], [-100, 0, -100]]),
    ],
)
def test_each_set_of_rows_is_read_by_its_own_names(
    repo: Path, task: str, role: str, values: list[Any], found: list[Any]
) -> None:
    texts = {"tokens": [["a"], ["b"]]} if role == "tags" else {"text": ["a", "b"]}
    examples = Examples(task, texts | {role: values}, label_names=("yes", "no"))
    features = HeadReader(small.tokenizer(repo), 16, Labels(("no", "yes"))).features(examples, "held-out")
    assert [feature["labels"] for feature in features] == found
