"""What ``from_arrays`` takes, and what it refuses."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.errors import InputError
from QEfficient.records import RowRules, Rows, Shape, TensorSpec
from QEfficient.runtime.rows import from_arrays

BERT = tuple(
    TensorSpec(n, "int64", ("batch_size", "seq_len")) for n in ("input_ids", "attention_mask", "token_type_ids")
)
PLAIN = BERT[:2]
IDS = [[5, 6, 7, 8], [9, 3, 0, 0]]
MASK = [[1, 1, 1, 1], [1, 1, 0, 0]]


def rows_of(inputs: Any, specs: tuple[TensorSpec, ...] = PLAIN, *, limit: int | None = None, bucket: int = 32) -> Rows:
    return from_arrays(inputs, specs, max_length=limit, buckets=[Shape(8), Shape(bucket)])


def lists(rows: Rows) -> dict[str, list[list[int]]]:
    return {name: [row.tolist() for row in column] for name, column in rows.columns.items()}


EXPECTED = {"input_ids": [[5, 6, 7, 8], [9, 3]], "attention_mask": [[1, 1, 1, 1], [1, 1]]}


@pytest.mark.parametrize(
    "make",
    [
        list,
        np.array,
        lambda values: np.array(values, np.int32),
        lambda values: np.array(values, np.uint8),
        torch.tensor,
        lambda values: torch.tensor(values, dtype=torch.int32),
        lambda values: [np.array(row) for row in values],
        lambda values: tuple(tuple(row) for row in values),
    ],
    ids=["lists", "int64", "int32", "uint8", "torch", "torch int32", "list of arrays", "tuples"],
)
def test_whatever_holds_integers_is_taken(make: Any) -> None:
    rows = rows_of({"input_ids": make(IDS), "attention_mask": make(MASK)})
    assert lists(rows) == EXPECTED
    assert all(row.dtype == np.int64 for column in rows.columns.values() for row in column)
    assert (len(rows), rows.width, rows.lengths) == (2, 4, (4, 2))


def test_a_mask_of_bools() -> None:
    assert lists(rows_of({"input_ids": IDS, "attention_mask": np.array(MASK, bool)})) == EXPECTED


def test_what_a_tokenizer_returns() -> None:
    assert lists(rows_of(UserDict(input_ids=IDS, attention_mask=MASK))) == EXPECTED


def test_a_missing_mask_is_all_ones_as_in_transformers() -> None:
    assert rows_of({"input_ids": IDS, "attention_mask": None}).lengths == (4, 4)


def test_missing_token_types_are_zeros_and_given_ones_are_kept() -> None:
    assert lists(rows_of({"input_ids": IDS, "attention_mask": MASK}, BERT))["token_type_ids"] == [[0] * 4, [0] * 2]
    given_types = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": [[0, 0, 1, 1], [0, 1, 0, 0]]}
    assert lists(rows_of(given_types, BERT))["token_type_ids"] == [[0, 0, 1, 1], [0, 1]]


def test_token_types_of_zero_are_taken_by_a_graph_without_them() -> None:
    rows = rows_of({"input_ids": IDS, "attention_mask": MASK, "token_type_ids": [[0] * 4] * 2})
    assert lists(rows) == EXPECTED


def test_token_types_of_zero_are_refused_where_they_are_not_the_same_as_none() -> None:
    """GPT-2 and XLM look types up among their words: type 0 adds the first word to every token."""
    inputs = {"input_ids": [[5, 6]], "token_type_ids": [[0, 0]]}
    with pytest.raises(InputError, match="zeros, which this model does not take for no types"):
        from_arrays(inputs, PLAIN, max_length=None, buckets=(), rules=RowRules(zero_types=False))


@pytest.mark.parametrize(
    "empty", [[], np.zeros((0, 7), np.int64), np.zeros((0,)), torch.zeros((0, 7), dtype=torch.long)]
)
def test_no_rows(empty: Any) -> None:
    rows = rows_of({"input_ids": empty, "attention_mask": empty}, BERT)
    assert len(rows) == 0 and rows.lengths == () and set(rows.columns) == {spec.name for spec in BERT}


def test_padding_on_the_left_and_holes_stay() -> None:
    rows = rows_of({"input_ids": [[0, 0, 5, 6], [5, 0, 7, 0]], "attention_mask": [[0, 0, 1, 1], [1, 0, 1, 0]]})
    assert lists(rows) == {
        "input_ids": [[0, 0, 5, 6], [5, 0, 7]],
        "attention_mask": [[0, 0, 1, 1], [1, 0, 1]],
    }


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6).filter(any), max_size=8))
def test_a_row_ends_with_its_last_real_token(mask: list[list[bool]]) -> None:
    array = np.array(mask, np.int64).reshape(-1, 6)
    ids = np.arange(array.size).reshape(array.shape)
    rows = rows_of({"input_ids": ids, "attention_mask": array})
    assert list(rows.lengths) == [max(i for i, real in enumerate(row) if real) + 1 for row in mask]
    for number, length in enumerate(rows.lengths):
        assert rows.columns["input_ids"][number].tolist() == ids[number, :length].tolist()
        assert rows.columns["attention_mask"][number].tolist() == array[number, :length].tolist()


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(lambda rows: not all(rows)))
def test_a_row_without_tokens_is_named(real: list[bool]) -> None:
    mask = np.array(real, np.int64)[:, None] * np.ones((1, 3), np.int64)
    with pytest.raises(InputError) as caught:
        rows_of({"input_ids": np.ones_like(mask), "attention_mask": mask})
    named = [str(row) for row, kept in enumerate(real) if not kept]
    assert str(caught.value.got).startswith(f"rows {', '.join(named[:8])}")


BAD: dict[str, tuple[Any, tuple[TensorSpec, ...], str]] = {
    "not a mapping": (np.array(IDS), PLAIN, "ndarray"),
    "a string": ("hello", PLAIN, "encode"),
    "unknown name": ({"input_idz": IDS, "input_ids": IDS}, PLAIN, "'input_ids'"),
    "a tokenizer's offsets": ({"input_ids": IDS, "offset_mapping": [[[0, 1]] * 4] * 2}, PLAIN, "no input"),
    "a flag": ({"input_ids": IDS, "output_attentions": True}, PLAIN, "without output_attentions"),
    "no input_ids": ({"attention_mask": MASK}, PLAIN, "input_ids is missing"),
    "nothing": ({}, PLAIN, "input_ids"),
    "None": ({"input_ids": None}, PLAIN, "input_ids is missing"),
    "position_ids": ({"input_ids": IDS, "position_ids": IDS}, PLAIN, "position_ids"),
    "token types": ({"input_ids": IDS, "token_type_ids": MASK}, PLAIN, "ignored"),
    "floats": ({"input_ids": np.array(IDS, np.float32)}, PLAIN, "float32"),
    "torch floats": ({"input_ids": torch.tensor(IDS).float()}, PLAIN, "float32"),
    "torch bfloat16": ({"input_ids": torch.tensor(IDS).bfloat16()}, PLAIN, "Tensor"),
    "strings": ({"input_ids": [["a", "b"]]}, PLAIN, "dtype <U1"),
    "ragged": ({"input_ids": [[1, 2], [3]]}, PLAIN, "padding=True"),
    "one row": ({"input_ids": [1, 2, 3]}, PLAIN, "input_ids[None, :]"),
    "three dims": ({"input_ids": [[[1]]]}, PLAIN, "(1, 1, 1)"),
    "unequal": ({"input_ids": IDS, "attention_mask": [[1, 1]]}, PLAIN, "(1, 2)"),
    "mask of 2": ({"input_ids": IDS, "attention_mask": [[1, 2, 1, 1], [1, 1, 0, 0]]}, PLAIN, "rows 0"),
    "negative mask": ({"input_ids": IDS, "attention_mask": [[1] * 4, [1, -1, 0, 0]]}, PLAIN, "rows 1"),
    "negative id": ({"input_ids": [[5, 6], [-100, 5]]}, PLAIN, "rows 1, least value -100"),
    "negative type": ({"input_ids": IDS, "token_type_ids": [[0] * 4, [0, -1, 0, 0]]}, BERT, "rows 1"),
    "no columns": ({"input_ids": np.zeros((2, 0), np.int64)}, PLAIN, "rows 0, 1"),
    "no mask in the graph": ({"input_ids": IDS}, PLAIN[:1], "attention_mask"),
}


@pytest.mark.parametrize(("inputs", "specs", "named"), BAD.values(), ids=BAD)
def test_bad_inputs(inputs: Any, specs: tuple[TensorSpec, ...], named: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(inputs, specs)
    error = caught.value
    assert named in str(error)
    assert error.what and error.got is not None and error.allowed and error.do


@pytest.mark.parametrize(("limit", "bucket", "allowed"), [(None, 16, 16), (20, 32, 20), (40, 16, 16)])
def test_too_long_rows_are_named_with_both_numbers(limit: int | None, bucket: int, allowed: int) -> None:
    mask = np.ones((3, 30), np.int64)
    mask[1, 10:] = 0  # this one fits
    with pytest.raises(InputError) as caught:
        rows_of({"input_ids": np.ones_like(mask), "attention_mask": mask}, limit=limit, bucket=bucket)
    assert caught.value.got == "row 0: 30 tokens, row 2: 30 tokens"
    assert f"at most {allowed} tokens" in str(caught.value)


def test_padding_beyond_the_limit_is_no_length() -> None:
    mask = np.zeros((1, 100), np.int64)
    mask[0, :5] = 1
    rows = rows_of({"input_ids": np.ones_like(mask), "attention_mask": mask}, limit=16, bucket=16)
    assert (rows.lengths, rows.width) == ((5,), 100)


def test_without_buckets_only_the_model_limits() -> None:
    ids = {"input_ids": np.ones((1, 30), np.int64)}
    assert from_arrays(ids, PLAIN, max_length=None, buckets=()).lengths == (30,)
    with pytest.raises(InputError, match="29"):
        from_arrays(ids, PLAIN, max_length=29, buckets=())


POOLED = (*PLAIN, TensorSpec("pooling_mask", "int64", ("batch_size", "seq_len")))


def test_a_missing_pooling_mask_pools_every_real_token() -> None:
    rows = lists(rows_of({"input_ids": IDS, "attention_mask": MASK}, POOLED))
    assert rows["pooling_mask"] == rows["attention_mask"]
    given = [[0, 0, 1, 1], [0, 1, 0, 0]]
    rows = lists(rows_of({"input_ids": IDS, "attention_mask": MASK, "pooling_mask": given}, POOLED))
    assert rows["pooling_mask"] == [[0, 0, 1, 1], [0, 1]]


@pytest.mark.parametrize("second", [[0, 0, 0, 0], [0, 1, 1, 0], [0, 2, 0, 0]])
def test_a_pooling_mask_names_real_tokens(second: list[int]) -> None:
    with pytest.raises(InputError, match="rows 1"):
        rows_of({"input_ids": IDS, "attention_mask": MASK, "pooling_mask": [MASK[0], second]}, POOLED)


def exact(inputs: Any, specs: tuple[TensorSpec, ...]) -> Rows:
    return from_arrays(inputs, specs, max_length=None, buckets=[Shape(8)], rules=RowRules(pads=False))


def test_a_model_that_can_not_be_padded_gets_rows_without_padding() -> None:
    """Also one that has no mask at all, such as FNet: the caller's mask says where rows end."""
    assert lists(exact({"input_ids": IDS, "attention_mask": MASK}, PLAIN)) == EXPECTED
    rows = exact({"input_ids": IDS, "attention_mask": MASK}, PLAIN[:1])
    assert lists(rows) == {"input_ids": EXPECTED["input_ids"]} and rows.lengths == (4, 2)
    assert exact({"input_ids": IDS}, PLAIN[:1]).lengths == (4, 4)


@pytest.mark.parametrize("mask", [[[1, 1, 1, 1], [0, 0, 1, 1]], [[1, 0, 1, 1], [1, 1, 1, 1]]], ids=["left", "hole"])
def test_such_rows_must_stand_at_the_start(mask: list[list[int]]) -> None:
    with pytest.raises(InputError, match="padding_side") as caught:
        exact({"input_ids": IDS, "attention_mask": mask}, PLAIN)
    assert f"rows {int(mask[0] == [1, 1, 1, 1])}" in str(caught.value)
