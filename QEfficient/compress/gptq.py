"""A matrix rounded for what it multiplies: the error of a column is taken over by the columns not rounded yet (GPTQ).

The method is that of Frantar et al., 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers". Here the grid of a group is fitted to its numbers as they are when their turn comes, and an output that
would be better off without any of this is rounded plainly.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from QEfficient.compress.fit_grid import fit_grid
from QEfficient.compress.grid import Codes, Floats, Grid

DAMPING = 0.01
"""What the mean second moment is multiplied by, and added to each input's own: texts are few, and inverses are not."""

AT_ONCE = 2**20
"""Numbers of the outputs that are rounded at once: they stay in a CPU's cache, column after column."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Second moments of a product's inputs, ``root @ rootᵀ``, damped.

    Attributes:
        root: Upper triangular, ``(inputs, inputs)``.
        inverse: Its inverse, upper triangular too: row n says how the error of input n is shared among those behind.
    """

    root: Floats
    inverse: Floats


def moments_of(read: Sequence[Floats], damping: float = DAMPING) -> Moments | None:
    """The second moments of what a product read.

    An input that was 0 throughout has no correlations, and is rounded plainly.

    Args:
        read: Rows, ``(rows, inputs)`` each.
        damping: As :data:`DAMPING`.

    Returns:
        ``None`` where there are no rows, or numbers in them that are not finite: nothing is known then.
    """
    rows = np.concatenate(read) if read else np.empty((0, 0), np.float32)
    size = float(np.abs(rows).max(initial=0))
    if not 0 < size < np.inf:  # NaN is not
        return None
    rows = rows / np.float32(size)  # squares stay finite, and steps do not depend on it
    found = (rows.T @ rows).astype(np.float64)
    own = found.diagonal().copy()
    dead = own == 0
    found[np.diag_indices_from(found)] = np.where(dead, own.mean(), own) + damping * own.mean()
    try:
        root = np.linalg.cholesky(found[::-1, ::-1])[::-1, ::-1]  # from the last input on: upper, not lower
    except np.linalg.LinAlgError:
        return None
    return Moments(np.ascontiguousarray(root, np.float32), np.triu(np.linalg.inv(root)).astype(np.float32))


def rounded(matrix: Floats, moments: Moments, bits: int, group: int, threads: int = 1) -> tuple[Grid, Codes]:
    """A matrix's grid and codes, with small errors of the product's results rather than of its own numbers.

    The codes are not those nearest to the numbers: ``grid.codes(matrix)`` would give others.

    Args:
        matrix: Finite numbers, ``(outputs, inputs)``.
        moments: Of the inputs.
        bits: Of a code.
        group: Inputs that share a step; they divide the inputs.
        threads: Parts of the outputs that are at work side by side: no output needs to know of another.
    """
    outputs, inputs = matrix.shape
    step = np.empty((outputs, inputs // group), np.float32)
    zero = np.empty((outputs, inputs // group), np.uint8)
    codes = np.empty((outputs, inputs), np.uint8)
    rows = max(1, min(AT_ONCE // inputs, -(-outputs // threads)))

    def work(start: int) -> None:
        part = slice(start, start + rows)
        grid, codes[part] = _better(matrix[part], moments, bits, group)
        step[part], zero[part] = grid.step, grid.zero

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(0, outputs, rows)):
            pass
    return Grid(step, zero, 1, bits), codes


def _better(matrix: Floats, moments: Moments, bits: int, group: int) -> tuple[Grid, Codes]:
    """Of each output what has the smaller error: rounded column by column, or each number to the nearest."""
    grid, codes, error = _by_columns(matrix, moments, bits, group)
    plain = fit_grid(matrix, bits, group)
    nearest = plain.codes(matrix)
    off = np.square((matrix - plain.numbers(nearest)) @ moments.root).sum(1)
    worse = ~(error <= off)[:, None]  # NaN is worse
    step, zero = np.where(worse, plain.step, grid.step), np.where(worse, plain.zero, grid.zero)
    return Grid(step, zero, 1, bits), np.where(worse, nearest, codes)


def _by_columns(matrix: Floats, moments: Moments, bits: int, group: int) -> tuple[Grid, Codes, Floats]:
    """Grid, codes, and the error of each output: what it is off by is ``errors @ root``, squared and summed."""
    outputs, inputs = matrix.shape
    left, codes = matrix.T.copy(order="C"), np.empty((inputs, outputs), np.uint8)
    step, zero = np.empty((outputs, inputs // group), np.float32), np.empty((outputs, inputs // group), np.uint8)
    carried, most, error = moments.inverse, np.float32(2**bits - 1), np.zeros(outputs, np.float32)
    errors = np.empty((group, outputs), np.float32)
    for number, start in enumerate(range(0, inputs, group)):
        end = start + group
        grid = fit_grid(np.ascontiguousarray(left[start:end].T), bits, group)
        step[:, number], zero[:, number] = grid.step[:, 0], grid.zero[:, 0]
        width, centre = grid.step[:, 0], grid.zero[:, 0].astype(np.float32)
        for place, at in enumerate(range(start, end)):
            code = np.clip(np.rint(left[at] / width) + centre, 0, most)
            codes[at] = code
            np.divide(left[at] - (code - centre) * width, carried[at, at], out=errors[place])
            left[at + 1 : end] -= carried[at, at + 1 : end, None] * errors[place]
        left[end:] -= carried[start:end, end:].T @ errors
        error += np.square(errors).sum(0)
    return Grid(step, zero, 1, bits), np.ascontiguousarray(codes.T), error
