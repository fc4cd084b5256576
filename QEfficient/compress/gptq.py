"""A matrix rounded for what it multiplies: the error of a column is taken over by the columns not rounded yet (GPTQ).

The method is that of Frantar et al., 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers". Columns take their turns by the size of what they are multiplied by, the largest first, while there are
many left that can take over an error; grids are those of the numbers as they were, so that any order will do. An output
that would be better off without any of this is rounded plainly.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.compress.fit_grid import fit_grid
from QEfficient.compress.grid import Codes, Floats, Grid

DAMPING = 0.01
"""What the mean second moment is multiplied by, and added to each input's own: texts are few, and inverses are not."""

AT_ONCE = 2**20
"""Numbers of the outputs that are rounded at once: they stay in a CPU's cache, column after column."""

BLOCK = 32
"""Columns whose errors are taken over by those behind the block in one product."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Second moments of a product's inputs, ``root @ rootᵀ``, damped.

    Attributes:
        order: Places of the inputs, those of the largest moments first; in this order they stand below.
        root: Upper triangular, ``(inputs, inputs)``.
        inverse: Its inverse, upper triangular too: row n says how the error of input n is shared among those behind.
    """

    order: NDArray[np.intp]
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
    order = np.argsort(-own, kind="stable")
    found = found[np.ix_(order, order)]
    try:
        root = np.linalg.cholesky(found[::-1, ::-1])[::-1, ::-1]  # from the last input on: upper, not lower
    except np.linalg.LinAlgError:
        return None
    return Moments(order, np.ascontiguousarray(root, np.float32), np.triu(np.linalg.inv(root)).astype(np.float32))


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
    """Of each output the codes with the smaller error: found column by column, or nearest to the numbers."""
    grid = fit_grid(matrix, bits, group)
    codes, error = _by_columns(matrix, moments, grid, group)
    nearest = grid.codes(matrix)
    off = np.square((matrix - grid.numbers(nearest))[:, moments.order] @ moments.root).sum(1)
    return grid, np.where((error <= off)[:, None], codes, nearest)  # NaN is worse


def _by_columns(matrix: Floats, moments: Moments, grid: Grid, group: int) -> tuple[Codes, Floats]:
    """Codes, and the error of each output: what it is off by is ``errors @ root``, squared and summed."""
    outputs, inputs = matrix.shape
    left, codes = matrix.T[moments.order], np.empty((outputs, inputs), np.uint8, order="F")
    steps, zeros = np.ascontiguousarray(grid.step.T), np.ascontiguousarray(grid.zero.T, np.float32)
    carried, most, error = moments.inverse, np.float32(2**grid.bits - 1), np.zeros(outputs, np.float32)
    for start in range(0, inputs, BLOCK):
        end = min(start + BLOCK, inputs)
        errors = np.empty((end - start, outputs), np.float32)
        for place, at in enumerate(range(start, end)):
            column = moments.order[at]
            step, zero = steps[column // group], zeros[column // group]
            code = np.clip(np.rint(left[at] / step) + zero, 0, most)
            codes[:, column] = code
            np.divide(left[at] - (code - zero) * step, carried[at, at], out=errors[place])
            left[at + 1 : end] -= carried[at, at + 1 : end, None] * errors[place]
        left[end:] -= carried[start:end, end:].T @ errors
        error += np.square(errors).sum(0)
    return codes, error
