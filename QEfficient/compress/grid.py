"""Numbers rounded to a grid of few bits: a group of them shares a step and a zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

TINY = np.finfo(np.float32).tiny
"""The least step: what is smaller has fewer digits the smaller it is, and would not be divided by as it was meant."""


@dataclass(frozen=True, slots=True)
class Grid:
    """``(code - zero) · step``, with codes of ``bits`` bits without a sign.

    The grid of a group reaches from its least number to its greatest, and holds 0 exactly, so that what was 0 stays 0.

    Attributes:
        step: One for each group: the matrix's shape with the dim ``axis`` divided by the size of a group.
        zero: The code of 0; as ``step``.
        axis: The dim whose numbers form groups.
        bits: 8 or 4.
    """

    step: Floats
    zero: Codes
    axis: int
    bits: int

    def codes(self, matrix: Floats) -> Codes:
        """The code of each number: the one that lies nearest to it."""
        parts = _parts(matrix, self.axis, self.step.shape[self.axis])
        found = parts / np.expand_dims(self.step, self.axis + 1)
        np.rint(found, out=found)
        found += np.expand_dims(self.zero, self.axis + 1)
        codes: Codes = np.clip(found, 0, 2**self.bits - 1, out=found).astype(np.uint8).reshape(matrix.shape)
        return codes

    def numbers(self, codes: Codes) -> Floats:
        """The number of each code."""
        parts = _parts(codes, self.axis, self.step.shape[self.axis]).astype(np.float32)
        parts -= np.expand_dims(self.zero, self.axis + 1)
        parts *= np.expand_dims(self.step, self.axis + 1)
        return parts.reshape(codes.shape)


def find_grid(matrix: Floats, bits: int, axis: int, group: int | None = None) -> Grid:
    """The grid of a matrix.

    Args:
        matrix: Finite numbers.
        bits: Of a code.
        axis: The dim whose numbers form groups.
        group: Numbers of a group; they divide the dim. Left out, all of it.
    """
    parts = _parts(matrix, axis, 1 if group is None else matrix.shape[axis] // group)
    low, high = np.minimum(parts.min(axis + 1), 0), np.maximum(parts.max(axis + 1), 0)
    most = np.float32(2**bits - 1)
    step = np.maximum(high / most - low / most, TINY).astype(np.float32)  # high - low itself may be infinite
    zero = np.clip(np.rint(-low / step), 0, most)
    return Grid(step, zero.astype(np.uint8), axis, bits)


def _parts(matrix: NDArray[np.generic], axis: int, groups: int) -> NDArray[np.generic]:
    """The matrix with the dim ``axis`` cut into ``groups``, and behind it a dim of a group's numbers."""
    shape = matrix.shape
    return matrix.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
