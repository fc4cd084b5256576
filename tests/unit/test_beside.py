"""Boxes, paths and the like: what a caller may give, what stands for the rest, and what names a graph lacks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from QEfficient.architectures import find
from QEfficient.errors import InputError
from QEfficient.inference.texts import Reading
from QEfficient.numerics.outline import one_row
from QEfficient.numerics.probes import draw
from QEfficient.records import RowRules, Rows, Shape, TensorSpec, TokenInput
from QEfficient.runtime.beside import of_tokens
from QEfficient.runtime.names import OF_TRANSFORMERS
from QEfficient.runtime.plan import Batch
from QEfficient.runtime.rows import from_arrays
from QEfficient.runtime.run import build
from QEfficient.runtime.signals import from_signals

IDS = tuple(TensorSpec(n, "int64", ("batch_size", "seq_len")) for n in ("input_ids", "attention_mask"))
BOXES = TokenInput("bbox", (4,), below=(1024,), boxes=True, ordered=True)
PATHS = TokenInput("xpath_tags_seq", (3,), default=216, below=(256,))
TYPES = TokenInput("token_type_ids", (2,), below=(3, 256))
TASKS = TokenInput("task_type_ids")
BASE = {"input_ids": [[5, 6, 7], [8, 9, 0]], "attention_mask": [[1, 1, 1], [1, 1, 0]]}


def rows_of(inputs: Any, *more: TokenInput) -> Rows:
    specs = (*IDS, *(one.spec for one in more))
    return from_arrays(inputs, specs, max_length=None, buckets=[Shape(8)], rules=RowRules(more=more))


def lists(column: Any) -> Any:
    return [row.tolist() for row in column]


def test_what_is_left_out_is_what_huggingface_takes() -> None:
    rows = rows_of(BASE, BOXES, PATHS, TYPES, TASKS)
    assert lists(rows.columns["bbox"]) == [[[0] * 4] * 3, [[0] * 4] * 2]
    assert lists(rows.columns["xpath_tags_seq"]) == [[[216] * 3] * 3, [[216] * 3] * 2]
    assert lists(rows.columns["token_type_ids"]) == [[[0] * 2] * 3, [[0] * 2] * 2]
    assert lists(rows.columns["task_type_ids"]) == [[0] * 3, [0] * 2]
    assert rows_of({**BASE, "bbox": None}, BOXES).columns["bbox"][0].shape == (3, 4)


def test_a_tokenizer_s_own_types_do_not_stand_for_several_numbers_a_token() -> None:
    """TAPAS with a BERT's tokenizer: two types a token, and a pair of as many tokens, which numpy would spread."""
    ids = np.array([5, 6])
    rows = Rows({"input_ids": [ids], "attention_mask": [ids * 0 + 1], "token_type_ids": [ids * 0 + 1]}, 2, (2,))
    manifest = SimpleNamespace(inputs=(*IDS, TYPES.spec), rules=RowRules(more=(TYPES,)))
    tokenizer = SimpleNamespace(encode=lambda *_, **__: SimpleNamespace(rows=rows, owners=None, overlong=()))
    loaded: Any = SimpleNamespace(tokenizer=tokenizer, program=SimpleNamespace(manifest=manifest))
    window = Reading.of(loaded, prompt="", limit=8, overlong="truncate")(0, [("a", "b")])
    assert lists(window.rows.columns["token_type_ids"]) == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize("make", [list, np.array, lambda v: np.array(v, np.uint16), torch.tensor])
def test_what_is_given_is_cut_to_its_row(make: Any) -> None:
    boxes = np.arange(24).reshape(2, 3, 4).tolist()
    rows = rows_of({**BASE, "bbox": make(boxes)}, BOXES)
    assert lists(rows.columns["bbox"]) == [boxes[0], boxes[1][:2]]
    assert all(row.dtype == np.int64 for row in rows.columns["bbox"])


@pytest.mark.parametrize("empty", [[], np.zeros((0, 3, 4), np.int64)])
def test_no_rows(empty: Any) -> None:
    assert len(rows_of({"input_ids": np.zeros((0, 3), np.int64), "bbox": empty}, BOXES)) == 0
    assert len(rows_of({"input_ids": []}, BOXES)) == 0


def test_a_batch_is_filled_up_with_what_stands_for_nothing() -> None:
    """Padding of 0 would be another path than the one that MarkupLM's own processor pads with."""
    rules = RowRules(more=(PATHS,))
    rows = rows_of({**BASE, "xpath_tags_seq": np.full((2, 3, 3), 7)}, PATHS)
    arrays = build((*IDS, PATHS.spec), rows, Batch((0, 1), Shape(4, 3)), rules.fill(None))
    assert arrays["xpath_tags_seq"].shape == (3, 4, 3)
    assert arrays["xpath_tags_seq"][1, :, 0].tolist() == [7, 7, 216, 216]
    assert (arrays["xpath_tags_seq"][2] == arrays["xpath_tags_seq"][0]).all()


BAD: dict[str, tuple[TokenInput, Any, str]] = {
    "flat": (BOXES, np.zeros((2, 3), np.int64), "(rows, columns, 4)"),
    "one row": (BOXES, np.zeros((3, 4), np.int64), "bbox[None, :]"),
    "a coordinate too many": (BOXES, np.zeros((2, 3, 5), np.int64), "(2, 3, 5)"),
    "other columns": (BOXES, np.zeros((2, 2, 4), np.int64), "(2, 3, 4)"),
    "other rows": (BOXES, np.zeros((1, 3, 4), np.int64), "(1, 3, 4)"),
    "floats": (BOXES, np.zeros((2, 3, 4)), "float64"),
    "pixels": (BOXES, np.full((2, 3, 4), 1024), "0 to 1023"),
    "negative": (BOXES, np.full((2, 3, 4), -1), "rows 0, 1"),
    "corners the other way": (BOXES, np.array([[[0, 0, 9, 9]] * 3, [[0, 0, 0, 0], [5, 0, 4, 0], [0] * 4]]), "rows 1"),
    "top below bottom": (BOXES, np.array([[[0, 3, 9, 2]] * 3, [[0] * 4] * 3]), "rows 0"),
    "a tag past the table": (PATHS, np.full((2, 3, 3), 256), "0 to 255"),
    "a type past its own table": (TYPES, np.full((2, 3, 2), 3), "(2, 255)"),
    "types of a text": (TYPES, np.zeros((2, 3), np.int64), "(rows, columns, 2)"),
    "a negative task": (TASKS, np.full((2, 3), -1), "negative"),
}


@pytest.mark.parametrize(("one", "value", "named"), BAD.values(), ids=BAD)
def test_what_the_model_s_tables_do_not_hold_is_refused(one: TokenInput, value: Any, named: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_of({**BASE, one.name: value}, one)
    assert one.name in str(caught.value) and named in str(caught.value)
    assert caught.value.got and caught.value.allowed and caught.value.do


def test_a_tokenizer_s_rows_get_what_it_does_not_know() -> None:
    tokens = rows_of(BASE).columns | {"token_type_ids": [np.zeros(3, np.int64), np.zeros(2, np.int64)]}
    found = of_tokens(Rows(tokens, 3, (3, 2)), (*IDS, PATHS.spec, TYPES.spec), RowRules(more=(PATHS, TYPES)))
    assert list(found.columns) == ["input_ids", "attention_mask", "xpath_tags_seq", "token_type_ids"]
    assert [row.shape for row in found.columns["xpath_tags_seq"]] == [(3, 3), (2, 3)]
    assert [row.shape for row in found.columns["token_type_ids"]] == [(3, 2), (2, 2)]


def test_random_ones_stay_in_their_tables_and_share_a_cell() -> None:
    rng = np.random.default_rng(0)
    boxes = draw(BOXES, (4, 50), rng, {})
    assert boxes.shape == (4, 50, 4) and boxes.min() >= 0 and boxes.max() < 1024
    assert (boxes[..., 2:] >= boxes[..., :2]).all() and np.ptp(boxes) > 500
    types = draw(TYPES, (4, 50), rng, {})
    assert (types < [3, 256]).all() and types[..., 1].max() > 100
    assert all(len({tuple(token) for token in row.tolist()}) < 50 for row in types)
    tasks = draw(TASKS, (4, 50), rng, {"task_type_ids": 3})  # of its table the graph tells, the architecture does not
    assert sorted(np.unique(tasks)) == [0, 1, 2]
    free = draw(replace(BOXES, ordered=False), (4, 50), rng, {})
    assert (free[..., 2:] < free[..., :2]).any() and free.max() < 1024


def test_boxes_the_other_way_are_taken_where_huggingface_clips_their_size() -> None:
    """transformers' LayoutLM and LiLT raise an IndexError for a negative width; LayoutLMv3 makes it 0."""
    [boxes] = find("layoutlmv3").rules({}, (*IDS, BOXES.spec)).more
    turned = [[[9, 9, 0, 0]] * 3] * 2
    assert lists(rows_of({**BASE, "bbox": turned}, boxes).columns["bbox"]) == [turned[0], turned[1][:2]]
    with pytest.raises(InputError, match="0 to 1023") as caught:
        rows_of({**BASE, "bbox": [[[1024] * 4] * 3] * 2}, boxes)
    assert "scale boxes" in caught.value.do
    for name in ("layoutlm", "lilt"):
        assert find(name).rules({}, (*IDS, BOXES.spec)).more == (BOXES,)


def test_one_row_of_a_batch_keeps_its_boxes_without_the_padding() -> None:
    boxes = np.arange(24).reshape(2, 3, 4)
    found = one_row({**{name: np.array(value) for name, value in BASE.items()}, "bbox": boxes}, 1)
    assert found["bbox"].tolist() == boxes[1:, :2].tolist()


def test_one_row_of_a_batch_keeps_the_channels_of_its_image() -> None:
    """Three tokens and three channels: an image has no length, whatever its dims are."""
    arrays = {
        "input_ids": np.arange(6).reshape(2, 3),
        "attention_mask": np.array([[1, 1, 0], [1, 1, 1]]),
        "pixel_values": np.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8),
    }
    found = one_row(arrays, 0)
    assert (found["input_ids"].tolist(), found["attention_mask"].tolist()) == ([[0, 1]], [[1, 1]])
    assert found["pixel_values"].shape == (1, 3, 8, 8) and (found["pixel_values"] == arrays["pixel_values"][:1]).all()


# ---------------------------------------------------------------------------------------------- names


LUKE = find("luke").rules({}, IDS)


@pytest.mark.parametrize("name", [*OF_TRANSFORMERS, *LUKE.left_out])
def test_what_huggingface_takes_and_the_graph_does_not_is_said_to_be_so(name: str) -> None:
    with pytest.raises(InputError) as caught:
        from_arrays({**BASE, name: [[0] * 3] * 2}, IDS, max_length=None, buckets=(), rules=LUKE)
    said = str(caught.value)
    assert f"exported without {name}" in said and "The model has no input" not in said and "leave" not in said


def test_the_reason_is_said() -> None:
    with pytest.raises(InputError, match="length of their own, which a program can't hold yet"):
        from_arrays({**BASE, "entity_ids": [[1]] * 2}, IDS, max_length=None, buckets=(), rules=LUKE)
    with pytest.raises(InputError, match="no use_task_id, and HuggingFace's model ignores them"):
        rules = find("ernie").rules({}, IDS)
        from_arrays({**BASE, "task_type_ids": [[0] * 3] * 2}, IDS, max_length=None, buckets=(), rules=rules)


def test_a_graph_of_a_caller_s_without_boxes_is_not_the_model() -> None:
    """Only the graph lacks them: the advice to leave them out would give other numbers."""
    rules = find("layoutlm").rules({}, IDS)
    assert not rules.more and "bbox" in rules.left_out
    with pytest.raises(InputError, match="The graph was exported without bbox"):
        from_arrays({**BASE, "bbox": np.zeros((2, 3, 4), int)}, IDS, max_length=None, buckets=(), rules=rules)


@pytest.mark.parametrize("name", ["visual_embeds", "langs", "entity_ids"])
def test_of_a_name_that_is_not_known_nothing_is_said_about_the_model(name: str) -> None:
    with pytest.raises(InputError, match=f"The graph has no input {name!r}.") as caught:
        from_arrays({**BASE, name: [[0] * 3] * 2}, IDS, max_length=None, buckets=())
    assert "transformers" in caught.value.do and "leave" not in caught.value.do


def test_a_slip_of_the_pen_is_shown_the_right_name() -> None:
    with pytest.raises(InputError, match="attention_mask") as caught:
        from_arrays({**BASE, "atention_mask": [[1] * 3] * 2}, IDS, max_length=None, buckets=())
    assert caught.value.do.startswith("write it so")


@pytest.mark.parametrize("name", ["position_ids", "bool_masked_pos"])
def test_images_likewise(name: str) -> None:
    pixels = TensorSpec("pixel_values", "float32", ("batch_size", 1, 2, 2))
    with pytest.raises(InputError, match="The graph") as caught:
        from_signals({"pixel_values": np.zeros((1, 1, 2, 2), np.float32), name: [[0]]}, (pixels,))
    assert "The model has no input" not in str(caught.value) and "leave" not in caught.value.do
