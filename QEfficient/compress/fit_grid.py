"""A grid that lies as near to the numbers of each group as can be: by least squares, and not from end to end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from QEfficient.compress.grid import TINY, Grid, find_grid

ROUNDS = 6
"""Times that codes and grid are found from each other. The error falls by less than 0.1 % a round from there on."""

AT_ONCE = 2**22
"""Numbers of the rows that are fitted at once."""


def fit_grid(matrix: NDArray[np.float32], bits: int, group: int) -> Grid:
    """The grid of a matrix whose rows are cut into groups, with the least squares of what rounding changes.

    Codes give a line through a group's numbers, by least squares; the line, its zero rounded to a whole code, gives
    codes. Of all rounds each group takes the best. In 8 bits a grid from end to end is as good.

    Args:
        matrix: Finite numbers.
        bits: Of a code.
        group: Numbers of a group; they divide a row.
    """
    grid = find_grid(matrix, bits, 1, group)
    if bits == 8:
        return grid
    rows = max(1, AT_ONCE // matrix.shape[1])
    for start in range(0, len(matrix), rows):
        part = slice(start, start + rows)
        numbers = matrix[part].reshape(-1, group)
        step, zero = _fitted(numbers, grid.step[part].reshape(-1), grid.zero[part].reshape(-1), 2**bits - 1)
        grid.step[part] = step.reshape(grid.step[part].shape)
        grid.zero[part] = zero.reshape(grid.zero[part].shape)
    return grid


def _fitted(
    numbers: NDArray[np.float32], step: NDArray[np.float32], zero: NDArray[np.uint8], most: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Step and zero of each group, of ``(groups, numbers)``."""
    zeros = zero.astype(np.float32)
    best_step, best_zero, least = step, zeros, np.full(len(numbers), np.inf, np.float32)
    for _ in range(ROUNDS):
        centred = np.clip(np.rint(numbers / step[:, None]), -zeros[:, None], most - zeros[:, None])
        error = np.square(numbers - centred * step[:, None]).sum(1)
        better = error < least
        best_step, best_zero = np.where(better, step, best_step), np.where(better, zeros, best_zero)
        least = np.minimum(error, least)
        step, zeros = _line(numbers, centred + zeros[:, None], centred, step, most)
    return best_step, best_zero.astype(np.uint8)


def _line(
    numbers: NDArray[np.float32],
    codes: NDArray[np.float32],
    centred: NDArray[np.float32],
    step: NDArray[np.float32],
    most: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The line ``slope · code + offset`` nearest to each group's numbers, as a step and a whole zero."""
    mean_code, mean = codes.mean(1, keepdims=True), numbers.mean(1, keepdims=True)
    spread = np.square(codes - mean_code).sum(1)
    slope = ((codes - mean_code) * (numbers - mean)).sum(1) / np.maximum(spread, 1)
    slope = np.where((spread > 0) & (slope > TINY), slope, step).astype(np.float32)
    zeros = np.clip(np.rint(mean_code[:, 0] - mean[:, 0] / slope), 0, most).astype(np.float32)
    return slope, zeros
