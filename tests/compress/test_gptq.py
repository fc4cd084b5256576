"""Rounding for what is multiplied: errors of results are never larger than those of the nearest codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.compress.fit_grid import fit_grid
from QEfficient.compress.gptq import DAMPING, moments_of, rounded
from QEfficient.compress.grid import Floats


def correlated(rng: np.random.Generator, rows: int, inputs: int) -> Floats:
    """Rows whose numbers depend on each other, and have sizes of their own."""
    mixed = rng.standard_normal((rows, inputs)) @ rng.standard_normal((inputs, inputs))
    return (mixed * np.exp(rng.standard_normal(inputs))).astype(np.float32)


def damped(rows: Floats) -> np.ndarray:
    """The second moments, as they are meant to be."""
    exact = rows.astype(np.float64)
    found = exact.T @ exact
    return found + DAMPING * np.diag(found).mean() * np.eye(len(found))


def errors(matrix: Floats, numbers: Floats, moments: np.ndarray) -> np.ndarray:
    """Of each output: how far its results are off, squared and summed over the rows."""
    off = (matrix - numbers).astype(np.float64)
    found: np.ndarray = np.einsum("oi,ij,oj->o", off, moments, off)
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    outputs=st.integers(1, 9),
    groups=st.integers(1, 4),
    group=st.sampled_from([16, 32]),
    rows=st.integers(1, 200),
    size=st.sampled_from([1e-20, 1.0, 1e15]),
    dead=st.integers(0, 5),
    threads=st.integers(1, 3),
)
def test_no_output_is_worse_than_plainly_rounded(seed, outputs, groups, group, rows, size, dead, threads):
    rng = np.random.default_rng(seed)
    inputs = groups * group
    read = correlated(rng, rows, inputs)
    read[:, rng.integers(0, inputs, dead)] = 0
    matrix = (rng.standard_normal((outputs, inputs)) * np.exp(rng.standard_normal((outputs, 1)))).astype(np.float32)
    moments = moments_of([read * np.float32(size)])
    assert moments is not None
    grid, codes = rounded(matrix, moments, 4, group, threads)
    plain = fit_grid(matrix, 4, group)
    wanted = damped(read)
    got, nearest = (errors(matrix, one, wanted) for one in (grid.numbers(codes), plain.numbers(plain.codes(matrix))))
    assert grid.step.shape == grid.zero.shape == (outputs, groups) and codes.shape == matrix.shape
    assert codes.max() <= 15
    if not dead:  # an input that was always 0 counts as one of mean size
        assert (got <= nearest * 1.001).all()


def test_results_of_correlated_inputs_are_nearer():
    """Also for rows that were not seen."""
    rng = np.random.default_rng(0)
    read, matrix = correlated(rng, 800, 64), rng.standard_normal((40, 64)).astype(np.float32)
    moments = moments_of([read[:300], read[300:400]])
    assert moments is not None
    before = matrix.copy()
    grid, codes = rounded(matrix, moments, 4, 32)
    assert np.array_equal(matrix, before)
    plain, unseen = fit_grid(matrix, 4, 32), damped(read[400:])
    got, nearest = (errors(matrix, one, unseen) for one in (grid.numbers(codes), plain.numbers(plain.codes(matrix))))
    assert got.sum() < 0.8 * nearest.sum()


@given(seed=st.integers(0, 2**32 - 1))
def test_without_correlations_it_is_plain_rounding(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((5, 64)).astype(np.float32)
    moments = moments_of([np.diag(np.exp(rng.standard_normal(64))).astype(np.float32)])
    assert moments is not None
    grid, codes = rounded(matrix, moments, 4, 32)
    plain = fit_grid(matrix, 4, 32)
    assert np.array_equal(grid.step, plain.step) and np.array_equal(grid.zero, plain.zero)
    assert np.array_equal(codes, plain.codes(matrix))


@pytest.mark.parametrize("matrix", [np.zeros((3, 32)), np.full((3, 32), 2.5), np.full((3, 32), 1e-42)])
def test_matrices_of_one_number(matrix):
    moments = moments_of([correlated(np.random.default_rng(1), 50, 32)])
    assert moments is not None
    exact = matrix.astype(np.float32)
    grid, codes = rounded(exact, moments, 4, 32)
    assert np.abs(grid.numbers(codes) - exact).max() <= 1e-6 * np.abs(exact).max() + 1e-37


@pytest.mark.parametrize(
    "read", [[], [np.zeros((4, 32), np.float32)], [np.full((4, 32), np.nan)], [np.full((4, 32), np.inf)]]
)
def test_inputs_that_say_nothing(read):
    assert moments_of([one.astype(np.float32) for one in read]) is None


def test_moments_are_their_roots():
    read = correlated(np.random.default_rng(2), 300, 48)
    moments = moments_of([read])
    assert moments is not None
    wanted = damped(read[:, moments.order]) / np.square(np.abs(read).max())
    assert (np.diff(np.diag(wanted)) <= 0).all()  # the largest first
    np.testing.assert_allclose(moments.root @ moments.root.T, wanted, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_allclose(moments.root @ moments.inverse, np.eye(48), atol=1e-4)
    assert not np.tril(moments.inverse, -1).any()
