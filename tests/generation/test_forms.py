"""One name, two calls: what makes a call the vendor's or HuggingFace's, and how ids are read and given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers.models import WordLevel

from QEfficient.errors import InputError, UsageError
from QEfficient.generation.forms import Asked, read_form
from QEfficient.generation.id_rows import padded, read_ids

TOKENIZER = tokenizers.Tokenizer(WordLevel({"a": 0}, unk_token="a"))
IDS = [[1, 2], [3, 4]]


def read(*args: Any, **keywords: Any) -> Asked:
    given = {name: keywords.pop(name, None) for name in ("prompts", "device_id")}
    given["runtime_ai100"] = keywords.pop("runtime_ai100", True)
    return read_form(args, given, keywords)


@pytest.mark.parametrize(
    "found",
    [
        lambda: read(TOKENIZER, ["a", "b"]),
        lambda: read(TOKENIZER, prompts=["a", "b"]),
        lambda: read(tokenizer=TOKENIZER, prompts=("a", "b")),
        lambda: read(TOKENIZER, ["a", "b"], [0], True),
        lambda: read(TOKENIZER, np.array(["a", "b"]), None),
    ],
)
def test_the_vendors_form(found: Any) -> None:
    asked = found()
    assert asked.prompts == ("a", "b")
    assert asked.tokenizer is TOKENIZER
    assert asked.ids is None
    assert asked.on_program
    assert not asked.keywords


@pytest.mark.parametrize(
    "found",
    [
        lambda: read(IDS),
        lambda: read(input_ids=IDS),
        lambda: read(inputs=IDS),
        lambda: read({"input_ids": IDS}),
        lambda: read(inputs={"input_ids": IDS}),
        lambda: read(IDS, None, tokenizer=None),
    ],
)
def test_huggingfaces_form(found: Any) -> None:
    asked = found()
    assert asked.prompts is None
    assert asked.ids is IDS


def test_what_comes_with_ids_goes_on() -> None:
    asked = read(
        {"input_ids": IDS, "attention_mask": [[1, 1], [0, 1]]}, "config", tokenizer=TOKENIZER, max_new_tokens=3
    )
    assert asked.attention_mask == [[1, 1], [0, 1]]
    assert asked.tokenizer is TOKENIZER
    assert asked.keywords == {"generation_config": "config", "max_new_tokens": 3}


def test_a_single_prompt_and_a_file(tmp_path: Path) -> None:
    assert read(TOKENIZER, "a").prompts == ("a",)
    (tmp_path / "prompts.txt").write_text("first \n\n  zweiter ☃\n", encoding="utf-8")
    assert read(prompts_txt_file_path=tmp_path / "prompts.txt").prompts == ("first", "zweiter ☃")


@pytest.mark.parametrize("keywords", [{"device_id": 1}, {"device_id": [1]}, {"device_ids": [1]}])
def test_devices(keywords: dict[str, Any]) -> None:
    assert read(IDS, **keywords).devices == (1,)
    assert read(IDS).devices is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: read(), "neither prompts nor ids"),
        (lambda: read(TOKENIZER), "neither prompts nor ids"),
        (lambda: read(IDS, prompts=["a"]), "prompts and ids"),
        (lambda: read(input_ids=IDS, prompts="a"), "prompts and ids"),
        (lambda: read("a"), "text, which has a name"),
        (lambda: read(["a"]), "text, which has a name"),
        (lambda: read(IDS, input_ids=IDS), "input_ids is given twice"),
        (lambda: read(IDS, inputs=IDS), "inputs is given twice"),
        (lambda: read(TOKENIZER, ["a"], prompts=["a"]), "prompts is given twice"),
        (lambda: read(TOKENIZER, ["a"], [0], device_id=[0]), "device_id is given twice"),
        (lambda: read(TOKENIZER, ["a"], [0], True, 5), "too many arguments"),
        (lambda: read({"input_ids": IDS, "attention_mask": IDS}, attention_mask=IDS), "attention_mask is given twice"),
        (lambda: read({"pixel_values": IDS}), "no input_ids"),
        (lambda: read({}), "no input_ids"),
        (lambda: read(prompts=["a"], attention_mask=IDS), "attention_mask belongs to ids"),
        (lambda: read(prompts=["a"], tokenizer="gpt2"), "tokenizer is none"),
        (lambda: read(prompts=[]), "There is no prompt"),
        (lambda: read(prompts=["a", None]), "Row 1 is not a string"),
        (lambda: read(prompts={"a"}), "prompts is a set"),
        (lambda: read(prompts=["a"], prompts_txt_file_path="x"), "given twice"),
        (lambda: read(prompts_txt_file_path="/no/such/file"), "no file of prompts"),
        (lambda: read(prompts_txt_file_path=3), "not a string or a path"),
        (lambda: read(IDS, device_id=[0], device_ids=[0]), "two names"),
        (lambda: read(IDS, device_ids="0"), "device_ids is a single string"),
        (lambda: read(IDS, runtime_ai100="no"), "runtime_ai100 is no bool"),
    ],
)
def test_what_fits_neither(call: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call()


# ---------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda ids: np.array(ids, np.int32)])
def test_ids_of_any_library(kind: Any) -> None:
    rows = read_ids(kind(IDS), None)
    assert rows.prompts == ((1, 2), (3, 4))
    assert rows.tensors == isinstance(kind(IDS), torch.Tensor)
    assert read_ids(kind(IDS[0]), None).prompts == ((1, 2),)


@pytest.mark.parametrize("mask", [[[0, 1, 1], [1, 0, 0]], np.array([[False, True, True], [True, False, False]])])
def test_a_mask_picks_real_tokens_on_either_side(mask: Any) -> None:
    rows = read_ids([[9, 1, 2], [3, 9, 9]], mask, vocabulary=4) if not isinstance(mask, list) else None
    rows = rows or read_ids([[9, 1, 2], [3, 9, 9]], torch.tensor(mask))
    assert rows.prompts == ((1, 2), (3,))
    out = rows.with_answers([[5], [6, 7]], pad_token_id=0)
    assert out.tolist() == [[9, 1, 2, 5, 0], [3, 9, 9, 6, 7]]


def test_rows_of_unequal_lengths_are_padded_on_the_left() -> None:
    rows = read_ids([[1], [2, 3]], None)
    assert rows.prompts == ((1,), (2, 3))
    assert rows.with_answers([[4], [5]], 0).tolist() == [[0, 1, 4], [2, 3, 5]]


def test_several_answers_to_a_row_stand_together() -> None:
    rows = read_ids(IDS, None)
    assert rows.with_answers([[5], [6], [7], [8]], 0)[:, 0].tolist() == [1, 1, 3, 3]
    assert padded([[1], []], 9, width=3).tolist() == [[1, 9, 9], [9, 9, 9]]


@pytest.mark.parametrize(
    ("ids", "mask", "says"),
    [
        ([[1.0, 2.0]], None, "whole numbers"),
        ([["a", "b"]], None, "whole numbers"),
        ([[True, False]], None, "whole numbers"),
        (np.zeros((1, 2, 3), np.int64), None, "3 dims"),
        (np.zeros((0, 3), np.int64), None, "no row"),
        ([[]], None, "Row 0 has no token"),
        ([[1, 2], [3, 4]], [[1, 1], [0, 0]], "Row 1 has no token"),
        ([[1, 2]], [[1, 1, 1]], "another shape"),
        ([[1], [2, 3]], [[1, 1]], "another shape"),
        ([[1, 2]], [[1, 2]], "something else than 0 and 1"),
        ([[1, 2]], [["a", "b"]], "something else than 0 and 1"),
        ([[1, -1]], None, "Row 0 has an id"),
        ([[1, 2], [3, 17]], None, "Row 1 has an id(?s:.*)0 to 16"),
        ([[1, 2], [[3], 4]], None, "whole numbers"),
        ({1, 2}, None, "a set"),
    ],
)
def test_ids_that_do_not_fit(ids: Any, mask: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_ids(ids, mask, vocabulary=17)
