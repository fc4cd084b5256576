"""Number formats, against tables that are built from their definition, one code after the other."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from QEfficient.numerics.formats import BITS_PER_WEIGHT, Format, mxfp6, mxint8, round_blocks, round_fp16

FORMATS: tuple[Format, ...] = ("mxfp6", "mxfp6_e3m2", "mxint8")
EMAX = {"mxfp6": 2, "mxfp6_e3m2": 4, "mxint8": 0}


def floating(exponent_bits: int, mantissa_bits: int, bias: int) -> list[tuple[Fraction, int]]:
    """Every magnitude of a format without Inf and NaN, with its code, ascending."""
    table = []
    for code in range(2 ** (exponent_bits + mantissa_bits)):
        exponent, mantissa = divmod(code, 2**mantissa_bits)
        fraction = Fraction(mantissa, 2**mantissa_bits) + (exponent > 0)
        table.append((fraction * Fraction(2) ** (max(exponent, 1) - bias), code))
    return table


TABLES: dict[str, list[tuple[Fraction, int]]] = {
    "mxfp6": floating(2, 3, bias=1),
    "mxfp6_e3m2": floating(3, 2, bias=3),
    "mxint8": [(Fraction(code, 64), code) for code in range(128)],
}


def by_the_book(block: list[float], name: str) -> list[Fraction]:
    """A block of the specification: its scale, and of each element the nearest table entry, by exhaustive search."""
    exact = [Fraction(value) for value in block]
    largest = max(abs(value) for value in exact)
    exponent = -127
    while exponent < 127 and Fraction(2) ** (exponent + 1 + EMAX[name]) <= largest:
        exponent += 1
    scale = Fraction(2) ** exponent
    result = []
    for value in exact:
        wanted = abs(value) / scale
        nearest = min(TABLES[name], key=lambda entry: (abs(entry[0] - wanted), entry[1] % 2))
        result.append((nearest[0] if value >= 0 else -nearest[0]) * scale)
    return result


def test_the_tables_are_those_of_the_specification() -> None:
    for name, size, smallest, largest in (
        ("mxfp6", 32, Fraction(1, 8), Fraction(15, 2)),
        ("mxfp6_e3m2", 32, Fraction(1, 16), Fraction(28)),
        ("mxint8", 128, Fraction(1, 64), Fraction(127, 64)),
    ):
        values = [value for value, _ in TABLES[name]]
        assert (len(values), values[0], values[1], values[-1]) == (size, 0, smallest, largest)
        assert values == sorted(set(values))
    assert BITS_PER_WEIGHT == {"mxfp6": 6.25, "mxfp6_e3m2": 6.25, "mxint8": 8.25}


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
ordinary = st.floats(-4, 4, width=32)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.one_of(*(st.lists(kind, min_size=1, max_size=32) for kind in (finite, ordinary))))
def test_a_block_is_rounded_as_the_specification_says(name: Format, block: list[float]) -> None:
    found = round_blocks(np.array(block, np.float32), 0, name)
    assert [Fraction(value.item()) for value in found] == by_the_book(block, name)


@pytest.mark.parametrize("name", FORMATS)
def test_ties_go_to_even_and_neighbours_to_the_nearest(name: Format) -> None:
    values = [float(value) for value, _ in TABLES[name]]
    top = 2.0 ** EMAX[name]  # fixes the scale at 1
    middles = [(low + high) / 2 for low, high in zip(values, values[1:], strict=False)]
    points = np.array(middles + values, np.float32)
    points = np.concatenate([points, np.nextafter(points, np.float32(0)), np.nextafter(points, np.float32(99))])
    for part in np.array_split(points, len(points) // 31 + 1):
        block = [top, *part.tolist()]
        found = round_blocks(np.array(block, np.float32), 0, name)
        assert [Fraction(one.item()) for one in found] == by_the_book(block, name)


def test_what_is_too_large_for_an_element_becomes_the_largest_one() -> None:
    block = np.array([7.9, -7.9, 4.0], np.float32)  # the scale is 1: 7.9 would round to 8
    assert mxfp6(block, 0).tolist() == [7.5, -7.5, 4.0]
    assert mxfp6(np.array([31.9, 16.0], np.float32), 0, "e3m2").tolist() == [28.0, 16.0]
    assert mxint8(np.array([-1.9999, 1.0], np.float32), 0).tolist() == [-127 / 64, 1.0]


def test_zeros_stay_and_a_block_with_inf_or_nan_is_all_nan() -> None:
    assert not mxfp6(np.zeros((3, 40), np.float32), 1).any()
    array = np.ones((1, 64), np.float32)
    for bad in (np.inf, -np.inf, np.nan):
        array[0, 5] = bad
        found = mxint8(array, 1)
        assert np.isnan(found[0, :32]).all() and (found[0, 32:] == 1).all()


def test_the_element_of_ml_dtypes_is_the_same_one() -> None:
    array = np.random.default_rng(0).uniform(-8, 8, (64, 32)).astype(np.float32)
    array[:, 0] = 4  # the scale is 1 for E2M3
    clipped = np.clip(array, -7.5, 7.5)
    assert (mxfp6(array, 1) == clipped.astype(ml_dtypes.float6_e2m3fn).astype(np.float32)).all()
    array[:, 0] = 16
    assert (mxfp6(array, 1, "e3m2") == array.astype(ml_dtypes.float6_e3m2fn).astype(np.float32)).all()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.integers(0, 2),
    arrays(np.float32, st.tuples(*[st.integers(1, 70)] + [st.integers(1, 4)] * 2), elements=ordinary),
)
def test_blocks_lie_along_the_axis_and_rounding_twice_changes_nothing(
    name: Format, axis: int, array: np.ndarray
) -> None:
    array = np.moveaxis(array, 0, axis)
    found = round_blocks(array, axis, name)
    assert found.shape == array.shape and found.dtype == np.float32
    lines = [[float(v) for v in line] for line in np.moveaxis(found, axis, -1).reshape(-1, array.shape[axis])]
    for line, source in zip(lines, np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]), strict=True):
        for start in range(0, len(line), 32):
            part = source[start : start + 32]
            assert (round_blocks(part, 0, name) == line[start : start + 32]).all()
    assert (round_blocks(found, axis, name) == found).all()
    assert (round_blocks(-array, axis - 3, name) == -found).all()


@settings(max_examples=100, deadline=None)
@given(finite)
def test_fp16_is_the_nearest_and_ties_go_to_even(value: float) -> None:
    found = round_fp16(np.array([value], np.float32))[0].item()
    if abs(value) >= 65520:
        assert found == math.copysign(math.inf, value)
        return
    codes = np.arange(0x7C00, dtype=np.uint16)
    table = codes.view(np.float16).astype(np.float64)
    place = int(np.searchsorted(table, abs(value)))
    near = [code for code in (place - 1, place, place + 1) if 0 <= code < len(table)]
    best = min(near, key=lambda code: (abs(Fraction(table[code]) - Fraction(abs(value))), code % 2))
    assert abs(found) == table[best] or (best == len(table) - 1 and abs(value) > 65504)


def test_fp16_keeps_subnormals_infinities_and_nan() -> None:
    array = np.array([2.0**-24, 2.0**-25, 6e-8, 65519.9, np.inf, np.nan], np.float32)
    found = round_fp16(array)
    assert found[:5].tolist() == [2.0**-24, 0.0, 2.0**-24, 65504.0, np.inf] and np.isnan(found[5])
