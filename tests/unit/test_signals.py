"""Images and clips → rows: what is taken, and what is refused with the row, the value and the way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from QEfficient.architectures.record import shortest_clip
from QEfficient.errors import InputError
from QEfficient.records import RowRules, Rows, Shape, TensorSpec
from QEfficient.runtime.plan import BATCH_IMAGES, plan
from QEfficient.runtime.signals import from_signals, has_signals

IMAGE = (TensorSpec("pixel_values", "float32", ("batch_size", 3, 4, 5)),)
VALUES = TensorSpec("input_values", "float32", ("batch_size", "seq_len"))
MASK = TensorSpec("attention_mask", "int64", ("batch_size", "seq_len"))
CLIP, MASKED = (VALUES,), (VALUES, MASK)
FEATURES = (TensorSpec("input_features", "float32", ("batch_size", "seq_len", 2)), MASK)
IDS = TensorSpec("input_ids", "int64", ("batch_size", "seq_len"))
PAIR = (IDS, MASK, *IMAGE)
WIDE = (TensorSpec("input_ids", "int64", ("batch_size", 6)),)
FRAMES = ((10, 5), (3, 2))  # one frame sees 20 samples


def image(rows: int = 2) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, 3, 4, 5), np.float32)


def clips(*lengths: int) -> list[np.ndarray]:
    return [np.random.default_rng(n).standard_normal(n, np.float32) for n in lengths]


def padded(*lengths: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.zeros((len(lengths), max(lengths)), np.float32)
    mask = np.zeros(values.shape, np.int64)
    for row, clip in enumerate(clips(*lengths)):
        values[row, : len(clip)], mask[row, : len(clip)] = clip, 1
    return values, mask


def rows_of(inputs: Any, specs: tuple[TensorSpec, ...], **keywords: Any) -> Rows:
    return from_signals(inputs, specs, **keywords)


# ---------------------------------------------------------------------------------------------- what is taken


@pytest.mark.parametrize(
    "make", [np.asarray, torch.from_numpy, list, lambda array: [torch.from_numpy(a) for a in array]]
)
def test_images_come_as_arrays_tensors_and_lists(make: Any) -> None:
    rows = rows_of({"pixel_values": make(image())}, IMAGE)
    assert (len(rows), rows.width, rows.lengths) == (2, 1, (1, 1))
    np.testing.assert_array_equal(np.stack(rows.columns["pixel_values"]), image())


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_become_float32(dtype: Any) -> None:
    column = rows_of({"pixel_values": image().astype(dtype)}, IMAGE).columns["pixel_values"]
    assert all(row.dtype == np.float32 for row in column)


@pytest.mark.parametrize("specs", [CLIP, MASKED])
def test_clips_come_padded_with_a_mask_or_as_a_list(specs: tuple[TensorSpec, ...]) -> None:
    values, mask = padded(30, 50, 20)
    for inputs in (
        {"input_values": values, "attention_mask": mask},
        {"input_values": torch.from_numpy(values), "attention_mask": torch.from_numpy(mask)},
        {"input_values": values, "attention_mask": mask.astype(bool)},
        {"input_values": clips(30, 50, 20)},
        {"input_values": [clip.tolist() for clip in clips(30, 50, 20)]},
        {"input_values": clips(30, 50, 20), "attention_mask": [np.ones(n, np.int64) for n in (30, 50, 20)]},
    ):
        rows = rows_of(inputs, specs, rules=RowRules(frames=FRAMES))
        assert (rows.lengths, rows.width) == ((30, 50, 20), 50)
        for got, clip in zip(rows.columns["input_values"], clips(30, 50, 20), strict=True):
            np.testing.assert_allclose(got, clip, rtol=1e-6)
        assert ("attention_mask" in rows.columns) == (specs is MASKED)


def test_without_a_mask_all_samples_count() -> None:
    assert rows_of({"input_values": padded(30, 50)[0]}, MASKED).lengths == (50, 50)


def test_frames_with_a_width_of_their_own() -> None:
    values = [np.ones((3, 2), np.float32), np.ones((5, 2), np.float32)]
    rows = rows_of({"input_features": values}, FEATURES)
    assert rows.lengths == (3, 5) and rows.columns["input_features"][1].shape == (5, 2)


@pytest.mark.parametrize(("texts", "images"), [(3, 1), (1, 3), (2, 2)])
def test_two_sides_pair_up_and_know_their_own_rows(texts: int, images: int) -> None:
    ids = np.arange(texts * 4).reshape(texts, 4)
    rows = rows_of({"input_ids": ids, "pixel_values": image(images)}, PAIR)
    assert len(rows) == max(texts, images) == len(rows.columns["input_ids"]) == len(rows.columns["pixel_values"])
    assert rows.kept == {"text_embeds": texts, "image_embeds": images}
    np.testing.assert_array_equal(rows.columns["input_ids"][-1], ids[texts - 1 if texts >= images else 0])


@pytest.mark.parametrize("empty", [[], np.zeros((0, 3, 4, 5), np.float32)])
def test_no_images(empty: Any) -> None:
    assert len(rows_of({"pixel_values": empty}, IMAGE)) == 0


@pytest.mark.parametrize("empty", [[], np.zeros((0, 40), np.float32)])
def test_no_clips(empty: Any) -> None:
    assert len(rows_of({"input_values": empty}, MASKED, rules=RowRules(frames=FRAMES))) == 0


def test_ids_of_one_width() -> None:
    rows = rows_of({"input_ids": np.ones((2, 6), int), "attention_mask": np.ones((2, 6), int)}, WIDE)
    assert rows.lengths == (1, 1) and has_signals(WIDE) and not has_signals((IDS, MASK))


@pytest.mark.parametrize("frames", [(), FRAMES, ((10, 5), *((3, 2),) * 4, *((2, 2),) * 2)])
def test_the_shortest_clip_makes_one_frame(frames: Any) -> None:
    least = shortest_clip(frames)
    assert len(rows_of({"input_values": [np.ones(least, np.float32)]}, CLIP, rules=RowRules(frames=frames))) == 1
    if least > 1:
        with pytest.raises(InputError, match=f"row 1: {least - 1} samples"):
            rows_of({"input_values": clips(least, least - 1)}, CLIP, rules=RowRules(frames=frames))


def test_images_beside_texts_bound_a_batch() -> None:
    batches = plan([5] * 20, [Shape(32)], fixed_shapes=False, images=True)
    assert [len(batch.rows) for batch in batches] == [BATCH_IMAGES, BATCH_IMAGES, 4]


# ---------------------------------------------------------------------------------------------- what is refused

BAD = image()
BAD[1, 0, 0, 0] = np.nan
VALUE, MASK_OF = padded(30, 50)

REFUSED: list[tuple[Any, tuple[TensorSpec, ...], str]] = [
    ({"pixel_values": image().transpose(0, 2, 3, 1)}, IMAGE, r"transpose\(0, 3, 1, 2\)"),
    ({"pixel_values": image()[0]}, IMAGE, r"pixel_values\[None\]"),
    ({"pixel_values": np.zeros((2, 3, 8, 8), np.float32)}, IMAGE, r"\(rows, 3, 4, 5\)"),
    ({"pixel_values": np.zeros((2, 3, 4, 5), np.uint8)}, IMAGE, "uint8"),
    ({"pixel_values": BAD}, IMAGE, "row 1"),
    ({"pixel_values": [image(1)[0], np.zeros((3, 8, 8), np.float32)]}, IMAGE, "of equal length, all of them floats"),
    ({"pixel_values": np.full((1, 3, 4, 5), 1e300)}, IMAGE, "row 0"),
    ({"pixel_value": image()}, IMAGE, "Did you mean 'pixel_values'"),
    ({"pixel_values": image(), "input_ids": [[1]]}, IMAGE, "no input 'input_ids'"),
    ({}, IMAGE, "pixel_values is missing"),
    (image(), IMAGE, "not a mapping"),
    ({"input_values": clips(30)[0]}, CLIP, r"input_values\[None\]"),
    ({"input_values": clips(30)[0].tolist()}, CLIP, r"input_values\[None\]"),
    ({"input_values": np.zeros((2, 2, 30), np.float32)}, CLIP, "mix a clip's channels"),
    ({"input_values": [np.zeros((2, 30), np.float32)]}, CLIP, "mix a clip's channels"),
    ({"input_values": np.zeros((2, 30), np.int16)}, CLIP, "int16"),
    ({"input_values": [clips(30)[0], np.full(30, np.inf, np.float32)]}, CLIP, "row 1"),
    ({"input_values": VALUE, "attention_mask": MASK_OF[:, ::-1]}, CLIP, "row 0"),
    ({"input_values": VALUE, "attention_mask": MASK_OF[:1]}, CLIP, "differ in shape"),
    ({"input_values": VALUE, "attention_mask": MASK_OF * 0.5}, CLIP, "float64"),
    ({"input_values": VALUE, "attention_mask": MASK_OF * 2}, CLIP, "0 and 1"),
    ({"input_values": VALUE, "attention_mask": MASK_OF * 0}, CLIP, "row 0: 0 samples, row 1: 0 samples"),
    ({"input_values": clips(30, 90)}, CLIP, "row 1: 90 samples"),
    ({"input_ids": [[1, 2]], "pixel_values": np.zeros((0, 3, 4, 5), np.float32)}, PAIR, "at least one row of each"),
    ({"input_ids": [[1, 2]]}, PAIR, "takes both"),
    ({"input_ids": [[1, -1]], "pixel_values": image()}, PAIR, "negative"),
    ({"input_ids": [[1, 2]]}, WIDE, 'padding="max_length"'),
    ({"input_ids": [[1, 2, 3, 4, 5, -100]]}, WIDE, "negative"),
    ({"input_ids": [[1.0] * 6]}, WIDE, "integers"),
    ({"input_ids": [[1] * 6], "attention_mask": [[1, 1, 1, 1, 1, 0]]}, WIDE, "would be ignored"),
]


@pytest.mark.parametrize(("inputs", "specs", "message"), REFUSED)
def test_what_is_refused(inputs: Any, specs: tuple[TensorSpec, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows_of(inputs, specs, rules=RowRules(frames=FRAMES), buckets=[Shape(64)])
