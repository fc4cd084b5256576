"""Number formats of the card, as roundings of float32 arrays: fp16, MXFP6 and MXINT8.

The block formats follow the Open Compute Project's Microscaling (MX) specification 1.0: 32 numbers share a scale that
is a power of two (E8M0, 2⁻¹²⁷ to 2¹²⁷). The scale is the largest power of two that is not above the block's largest
magnitude, divided by the largest power of two that an element can be (§6.3). What is larger than the largest element
after scaling becomes the largest element; ties go to even; subnormal elements are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Format = Literal["mxfp6", "mxfp6_e3m2", "mxint8"]

BLOCK = 32
MAX_FP16 = 65504.0
_SMALLEST_SCALE = np.float32(2.0**-127)  # of E8M0; the largest, 2¹²⁷, no finite float32 can pass


@dataclass(frozen=True, slots=True)
class Element:
    """What one number of a block can be.

    Attributes:
        bits: Bits behind the binary point of a mantissa in [1, 2).
        low, high: Exponents of the smallest normal number and of the largest one.
        largest: The largest number.
    """

    bits: int
    low: int
    high: int
    largest: float


ELEMENTS: dict[Format, Element] = {
    "mxfp6": Element(bits=3, low=0, high=2, largest=7.5),  # E2M3
    "mxfp6_e3m2": Element(bits=2, low=-2, high=4, largest=28.0),  # E3M2
    "mxint8": Element(bits=6, low=0, high=0, largest=127 / 64),  # fixed point; -2 is left out, as symmetry wants it
}
BITS_PER_WEIGHT = {name: (8 if name == "mxint8" else 6) + 8 / BLOCK for name in ELEMENTS}
"""Stored bits a number, the shared scale included."""


def round_fp16(array: NDArray[np.floating]) -> Array:
    """The nearest fp16 number of each, ties to even, as float32; past ±65504 (and its rounding) infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


def mxfp6(array: Array, axis: int, element: Literal["e2m3", "e3m2"] = "e2m3") -> Array:
    """The numbers that MXFP6 keeps of ``array``.

    Args:
        array: Any shape.
        axis: Along it 32 numbers make a block; for a weight the axis that the product sums over. A last block may be
            shorter.
        element: ``"e2m3"``, which the vendor's vLLM plug-in names, or ``"e3m2"``.

    Returns:
        float32, of the same shape. A block with Inf or NaN is all NaN, where the specification leaves the choice.
    """
    return round_blocks(array, axis, "mxfp6" if element == "e2m3" else "mxfp6_e3m2")


def mxint8(array: Array, axis: int) -> Array:
    """The numbers that MXINT8 keeps of ``array``; see :func:`mxfp6`."""
    return round_blocks(array, axis, "mxint8")


def round_blocks(array: Array, axis: int, name: Format) -> Array:
    """The numbers that the block format ``name`` keeps of ``array``, 32 along ``axis`` sharing a scale."""
    element, axis, length = ELEMENTS[name], axis % array.ndim, array.shape[axis]
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    if length % BLOCK:
        array = np.pad(array, [(0, 0)] * axis + [(0, -length % BLOCK)] + [(0, 0)] * len(after))
    blocks = np.asarray(array, np.float32).reshape(*before, array.shape[axis] // BLOCK, BLOCK, *after)
    rounded = _round(blocks, axis + 1, element).reshape(*before, array.shape[axis], *after)
    return rounded[(slice(None),) * axis + (slice(length),)]


def _round(blocks: Array, axis: int, element: Element) -> Array:
    """Rounds blocks that lie along ``axis``. Each division and product is by a power of two, thus exact."""
    largest = np.abs(blocks).max(axis, keepdims=True)
    scale = np.maximum(_power(largest) / np.float32(2**element.high), _SMALLEST_SCALE)
    with np.errstate(invalid="ignore"):  # of Inf and NaN, which the last line answers
        scaled = blocks / scale
        step = np.maximum(_power(scaled), np.float32(2.0**element.low)) / np.float32(2**element.bits)
        kept = np.clip(np.rint(scaled / step) * step, -element.largest, element.largest) * scale
    return np.where(np.isfinite(largest), kept, np.float32(np.nan))


def _power(array: Array) -> Array:
    """The largest power of two that is not above each magnitude; 0 for magnitudes below 2⁻¹²⁶."""
    return (np.ascontiguousarray(array).view(np.int32) & np.int32(0x7F80_0000)).view(np.float32)
