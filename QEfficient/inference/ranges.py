"""The ranges of 8-bit codes: the least and the largest value of each dimension, found, checked, made into a grid."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.errors import InputError, OptionError

FEW = 100  # vectors, below which sentence-transformers warns of ranges that are taken from them


def find_ranges(
    vectors: NDArray[Any], precision: str, calibration_embeddings: Any = None, *, stacklevel: int = 3
) -> NDArray[Any]:
    """The least and the largest value of each dimension, ``(2, dim)``.

    Args:
        vectors: ``(n, dim)`` or ``(dim,)``: what is to be quantised.
        precision: As messages name it.
        calibration_embeddings: ``(m, dim)``, asked in their place.
        stacklevel: Whom the warning of few vectors points at.

    Raises:
        OptionError: There is a single vector to take them from.
    """
    if calibration_embeddings is not None:
        dim, vectors = vectors.shape[-1], finite(np.atleast_2d(floats(calibration_embeddings)))
        if not len(vectors) or vectors.shape[1:] != (dim,):
            raise InputError(
                "calibration_embeddings holds no vectors, or vectors of another width.",
                got=f"shape {vectors.shape}",
                allowed=f"(m, {dim}), with m of {FEW} or more",
                do="pass vectors of texts like those that are quantised, or leave it out",
            )
    else:
        count = 1 if vectors.ndim == 1 else len(vectors)
        check_enough(precision, count)
        if count < FEW:
            warnings.warn(
                f"The ranges of {precision} codes are taken from {count} embeddings. They are more stable when they "
                f"come from {FEW} or more: pass ranges=, or to quantize_embeddings calibration_embeddings=.",
                stacklevel=stacklevel,
            )
    return np.vstack((np.min(vectors, axis=0), np.max(vectors, axis=0)))


def check_enough(precision: str, count: int) -> None:
    """Refuses to take ranges from a single vector, whose values would be start and end of every range, or from none.

    Raises:
        OptionError: There are not two.
    """
    if count < 2:
        raise OptionError(
            f"The ranges of {precision} codes can't be taken from a single embedding.",
            got=f"no ranges, and embeddings: {count}",
            allowed="ranges of shape (2, dim), or several embeddings",
            do="pass ranges=: the least and the largest value of each dimension over many embeddings",
        )


def checked_ranges(ranges: Any, dim: int) -> NDArray[Any]:
    """A copy of a caller's ranges.

    Raises:
        InputError: Not ``(2, dim)`` finite numbers with the least first.
    """
    try:
        found = np.asarray(arguments.on_host(ranges)).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise _bad_ranges(f"{type(ranges).__name__}: {error}", dim) from error
    if found.ndim != 2 or len(found) != 2 or found.shape[1] not in (1, dim):
        raise _bad_ranges(f"shape {found.shape}", dim)
    if not np.isfinite(found).all() or (found[0] > found[1]).any():
        bad = int(np.argmin(np.isfinite(found).all(0) & (found[0] <= found[1])))
        raise _bad_ranges(f"from {found[0, bad]} to {found[1, bad]} in dimension {bad}", dim)
    return found


def grid(ranges: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Start and step of each dimension, in float32; a dimension that never changes has step 1."""
    ranges = ranges.astype(np.float32, copy=False)
    steps = (ranges[1] - ranges[0]) / 255
    return ranges[0], np.where(steps == 0, 1, steps)


def floats(value: Any, name: str = "embeddings") -> NDArray[Any]:
    """What a caller calls vectors, under a name, as an array of numbers.

    Raises:
        InputError: It is none, or holds codes already.
    """
    try:
        found = on_host(value) if hasattr(value, "detach") else np.asarray(value)
    except (TypeError, ValueError) as error:  # rows of unequal length
        raise no_vectors(f"{type(value).__name__}: {error}", name) from error
    if found.ndim == 0 or found.dtype in (np.int8, np.uint8) or found.dtype.kind not in "fiu":
        raise no_vectors(f"{found.dtype} of shape {found.shape}", name)
    return found


def on_host(tensor: Any) -> NDArray[Any]:
    """A torch tensor as an array; numpy has no bfloat16."""
    return np.asarray((tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).detach().cpu().numpy())


def finite(vectors: NDArray[Any], name: str = "embeddings") -> NDArray[Any]:
    """Refuses NaN and infinity, which have no code; sentence-transformers gives them whatever a cast makes of them.

    Raises:
        InputError: It names the first such row.
    """
    good = np.isfinite(vectors)
    if not good.all():
        row = int(np.argmin(np.atleast_2d(good).all(axis=tuple(range(1, max(good.ndim, 2))))))
        raise no_vectors(f"NaN or infinity in row {row}", name)
    return vectors


def no_vectors(got: str, name: str = "embeddings") -> InputError:
    """The error about what is no set of vectors."""
    return InputError(
        f"{name} is no array of float vectors.",
        got=got,
        allowed="finite floats of shape (n, dim) or (dim,), or a list of them; int8 and uint8 are codes already",
        do='pass what encode returns with precision="float32"',
    )


def _bad_ranges(got: str, dim: int) -> InputError:
    return InputError(
        "ranges are not the least and the largest value of each dimension.",
        got=got,
        allowed=f"finite numbers of shape (2, {dim}), the least in the first row",
        do="pass np.vstack([vectors.min(axis=0), vectors.max(axis=0)]) of many vectors, cut to the same dims",
    )
