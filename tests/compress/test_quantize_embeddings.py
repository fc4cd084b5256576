"""`quantize_embeddings` beside that of sentence-transformers: equal bits, whatever the vectors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from sentence_transformers.util import quantization as theirs
from sentence_transformers.util import quantize_embeddings as theirs_quantize

from QEfficient import quantize_embeddings
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.inference.quantization import CODES, PRECISIONS, SCALAR, dequantize_embeddings

RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(120, 19)).astype(np.float32)
RANGES = np.vstack([VECTORS.min(0), VECTORS.max(0)])


def same(want: Any, got: Any) -> bool:
    """Equal in type, dtype, shape and every bit; of lists each item."""
    if isinstance(want, list):
        return isinstance(got, list) and len(want) == len(got) and all(map(same, want, got))
    return type(want) is type(got) and want.dtype == got.dtype and want.shape == got.shape and np.array_equal(want, got)


def both(vectors: Any, *args: Any) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ranges of", category=UserWarning)
        return theirs_quantize(vectors, *args), quantize_embeddings(vectors, *args)


def floats(dtype: type[np.floating[Any]]) -> st.SearchStrategy[Any]:
    width = np.dtype(dtype).itemsize * 8
    few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5])  # so that dimensions may be constant, and values equal
    return few | st.floats(-1e4, 1e4, width=width, allow_nan=False)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(), precision=st.sampled_from(PRECISIONS), dtype=st.sampled_from([np.float16, np.float32, np.float64])
)
def test_equal_to_sentence_transformers_bit_for_bit(data: st.DataObject, precision: str, dtype: Any) -> None:
    rows, dim = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 19))
    matrix = arrays(dtype, st.just((rows, dim)), elements=floats(dtype))
    vectors = data.draw(matrix)
    ranges = calibration = None
    kind = data.draw(st.sampled_from(["none", "ranges", "calibration"]))
    if kind == "ranges":
        ranges = np.sort(data.draw(arrays(np.float32, (2, dim), elements=floats(np.float32))), axis=0)
    elif kind == "calibration":
        calibration = data.draw(arrays(dtype, (3, dim), elements=floats(dtype)))
    elif rows == 1 and precision in SCALAR:
        for quantise in (theirs_quantize, quantize_embeddings):
            with pytest.raises(ValueError, match="single embedding"):
                quantise(vectors, precision)
        return
    assert same(*both(vectors, precision, ranges, calibration))


@given(shape=array_shapes(min_dims=1, max_dims=2, max_side=20), scale=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30]))
@settings(max_examples=40, deadline=None)
def test_equal_at_any_scale(shape: tuple[int, ...], scale: float) -> None:
    vectors = (np.random.default_rng(sum(shape)).normal(size=shape) * scale).astype(np.float32)
    for precision in CODES:
        assert same(*both(vectors, precision, RANGES[:, :1].repeat(shape[-1], 1)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_containers(precision: str) -> None:
    for given_ in (
        list(VECTORS),
        VECTORS.tolist(),
        torch.from_numpy(VECTORS),
        torch.from_numpy(VECTORS).bfloat16(),
        [torch.from_numpy(row) for row in VECTORS],
        [VECTORS[:3], VECTORS[3:3], VECTORS[3:]],  # token vectors of three texts: one grid for all
        [torch.from_numpy(VECTORS[:3]), torch.from_numpy(VECTORS[3:])],
        [VECTORS[:0]],
        [],
    ):
        assert same(*both(given_, precision))
    assert same(*both(VECTORS[0], precision, RANGES))
    assert same(*both([VECTORS[:1], VECTORS[1:2]], precision, None, VECTORS))
    assert same(*both(VECTORS, precision, np.array([[-1.0], [1.0]])))  # one range for all dimensions


@pytest.mark.parametrize("precision", SCALAR)
def test_codes_stand_for_what_sentence_transformers_restores(precision: str) -> None:
    codes = quantize_embeddings(VECTORS, precision)
    want = theirs._dequantize_embeddings(codes, precision, RANGES)  # type: ignore[arg-type]
    found = dequantize_embeddings(codes, precision, RANGES, 19)
    assert np.abs(found - want).max() < 1e-6
    assert np.abs(found - VECTORS).max() <= ((RANGES[1] - RANGES[0]) / 255).max() * 1.001
    assert np.array_equal(
        dequantize_embeddings(quantize_embeddings(VECTORS, "binary"), "binary", None, 19) > 0, VECTORS > 0
    )


def test_few_vectors_are_warned_of_where_theirs_does() -> None:
    with pytest.warns(UserWarning, match="taken from 99 embeddings") as caught:
        quantize_embeddings(VECTORS[:99], "int8")
    assert [one.filename for one in caught] == [__file__]
    with pytest.warns(UserWarning, match="taken from 5 embeddings") as caught:
        quantize_embeddings([VECTORS[:2], VECTORS[2:5]], "uint8")
    assert [one.filename for one in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantize_embeddings(VECTORS[:100], "int8")
        quantize_embeddings(VECTORS[:2], "int8", RANGES)
        quantize_embeddings(VECTORS[:2], "int8", None, VECTORS[:2])
        quantize_embeddings(VECTORS[:2], "binary")


def changed(value: float) -> NDArray[np.float32]:
    vectors = VECTORS.copy()
    vectors[7, 3] = value
    return vectors


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (UsageError, "Did you mean 'int8'", (VECTORS, "int4")),
        (InputError, "row 7", (changed(np.nan), "int8")),
        (InputError, "row 7", (changed(np.inf), "binary")),
        (InputError, "int8 of shape", (VECTORS.astype(np.int8), "int8")),
        (InputError, "<U1", (["a", "b"], "int8")),
        (InputError, "float", (1.0, "binary")),
        (InputError, "embeddings", ([[1.0], [1.0, 2.0]], "int8")),
        (InputError, r"\(2, 19\)", (VECTORS, "int8", RANGES[:, :4])),
        (InputError, r"\(2, 19\)", (VECTORS, "int8", RANGES[0])),
        (InputError, "in dimension 0", (VECTORS, "int8", RANGES[::-1])),
        (InputError, "nan", (VECTORS, "int8", np.full((2, 19), np.nan))),
        (InputError, "ranges", (VECTORS, "int8", "minmax")),
        (InputError, r"\(m, 19\)", (VECTORS, "int8", None, VECTORS[:, :4])),
        (InputError, "no vectors", (VECTORS, "int8", None, VECTORS[:0])),
        (InputError, "row 7", (VECTORS, "int8", None, changed(np.nan))),
        (InputError, r"\(1, 120, 19\)", (VECTORS[None], "int8")),
        (InputError, "unlike shapes", ([VECTORS, VECTORS[:, :4]], "int8")),
        (InputError, "row 7", ([changed(np.nan), VECTORS], "int8")),
        (OptionError, "single embedding", (VECTORS[0], "int8")),
        (OptionError, "single embedding", ([VECTORS[:1]], "uint8")),
    ],
)
def test_what_has_no_codes_is_refused(error: type[UsageError], match: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(error, match=f"(?s){match}"):
        quantize_embeddings(*arguments)
