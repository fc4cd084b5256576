"""Rounding to a grid: how far a number can be from its own, whatever the matrix holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from QEfficient.compress.grid import find_grid

SHAPES = st.tuples(st.integers(1, 4).map(lambda n: 8 * n), st.integers(1, 9))
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=300, deadline=None)
@given(
    matrix=arrays.arrays(np.float32, SHAPES, elements=NUMBERS),
    bits=st.sampled_from([4, 8]),
    by_row=st.booleans(),
    group=st.sampled_from([None, 8]),
)
def test_every_number_is_within_half_a_step(matrix: np.ndarray, bits: int, by_row: bool, group: int | None) -> None:
    axis = int(by_row)
    turned = matrix.T if by_row else matrix  # the dim that is a multiple of 8 holds the groups
    grid = find_grid(turned, bits, axis, group)
    codes = grid.codes(turned)
    assert codes.max() < 2**bits and grid.zero.max() < 2**bits
    groups = turned.shape[axis] // (group or turned.shape[axis])
    assert grid.step.shape[axis] == groups and grid.step.shape[1 - axis] == turned.shape[1 - axis]
    numbers = grid.numbers(codes)
    assert np.isfinite(numbers).all()
    step = np.repeat(grid.step, turned.shape[axis] // groups, axis).astype(np.float64)
    assert (np.abs(numbers.astype(np.float64) - turned) <= 0.5001 * step).all()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -2.5, 1e-30, 1e-45, -3e38])
def test_a_constant_row_stays_itself(bits: int, value: float) -> None:
    matrix = np.full((16, 3), value, np.float32)
    grid = find_grid(matrix, bits, 0)
    found = grid.numbers(grid.codes(matrix))
    assert np.allclose(found, matrix, rtol=1e-6, atol=1e-37)


def test_zeros_beside_an_outlier_stay_zeros() -> None:
    matrix = np.zeros((32, 2), np.float32)
    matrix[3, 0], matrix[5, 1] = 1e6, -7.0
    grid = find_grid(matrix, 4, 0)
    found = grid.numbers(grid.codes(matrix))
    assert np.allclose(found, matrix) and np.count_nonzero(found) == 2


def test_an_outlier_costs_its_own_group_only() -> None:
    matrix = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    exact = find_grid(matrix, 4, 0, 32)
    matrix[0, 0] = 1e4
    grid = find_grid(matrix, 4, 0, 32)
    assert grid.step[0, 0] > 100 * exact.step[0, 0]
    assert np.array_equal(grid.step[1], exact.step[1]) and np.array_equal(grid.step[:, 1:], exact.step[:, 1:])
