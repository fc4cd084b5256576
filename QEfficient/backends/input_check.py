"""The check of what a session is given, the same for every backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError, unknown
from QEfficient.records import BATCH_DIM, LENGTH_DIM, Shape, TensorSpec

Shapes: TypeAlias = tuple[tuple[int, ...], ...]


_REMEMBERED = 4096  # shapes of one session


class InputCheck:
    """Checks what one session is given. Shapes that fitted once are remembered: a session is given few.

    Args:
        inputs: The program's inputs.
        buckets: The compiled buckets.
        fixed_shapes: Take only the shapes of ``buckets``; else any batch and any length up to the longest of them.
        state: Of a program that keeps state, size of each dim that a state has: an input that has it too has that very
            size. The batch, where no state has it, is at most the largest of ``buckets``.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        buckets: Sequence[Shape],
        *,
        fixed_shapes: bool,
        state: Mapping[str, int] | None = None,
    ) -> None:
        self._inputs, self._buckets, self._fixed_shapes, self._state = inputs, buckets, fixed_shapes, state
        self._wanted = [(spec.name, np.dtype(spec.dtype)) for spec in inputs]
        self._known: set[Shapes] = set()

    def check(self, arrays: Mapping[str, NDArray[np.generic]]) -> Shapes:
        """The arrays' shapes, in the order of the inputs.

        Raises:
            InputError: A name, dtype or shape does not fit.
        """
        try:
            fits, given = len(arrays) == len(self._wanted), []
            for name, dtype in self._wanted:
                array = arrays[name]
                given.append(array.shape)
                fits = fits and isinstance(array, np.ndarray) and array.dtype == dtype
            shapes = tuple(given)
            if fits and shapes in self._known:
                return shapes
        except (KeyError, AttributeError, TypeError):  # what is wrong is said below
            pass
        self._check_anew(arrays)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known.add(shapes)
        return shapes

    def _check_anew(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        inputs, buckets = self._inputs, self._buckets
        check_array_names(tuple(arrays), tuple(spec.name for spec in inputs))
        for spec in inputs:
            check_dtype(spec.name, arrays[spec.name], spec.dtype)
        shapes = {spec.name: arrays[spec.name].shape for spec in inputs}
        if self._fixed_shapes:
            if any(all(shapes[spec.name] == spec.at(bucket) for spec in inputs) for bucket in buckets):
                return
            allowed = " or ".join(map(str, buckets))
            do = "pad to one of these shapes, or compile with other seq_len and batch_size"
        else:
            if _fits(shapes, inputs, buckets, self._state):
                return
            largest = Shape.largest(buckets)
            others = [f", {dim} up to {n}" for dim, n in largest.sizes.items() if dim not in (BATCH_DIM, LENGTH_DIM)]
            allowed = (
                f"{self._rows(largest.batch)}, 1 to {largest.length} tokens{''.join(others)}, alike in every input"
            )
            do = "shorten the rows, or compile with a longer seq_len"
        raise InputError("The program does not take these shapes.", got=str(shapes), allowed=allowed, do=do)

    def _rows(self, batch: int) -> str:
        """How many rows are taken, in words."""
        if self._state is None:
            return "at least 1 row"
        return f"{batch} rows" if BATCH_DIM in self._state else f"1 to {batch} rows"


def check_dtype(name: str, array: object, dtype: str) -> None:
    """Refuses what is no array of a dtype.

    Raises:
        InputError: It says how to make one.
    """
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise InputError(
            f"The array {name!r} has another dtype.",
            got=f"{getattr(array, 'dtype', type(array).__name__)}",
            allowed=f"a numpy array of {dtype}",
            do=f"pass np.asarray({name}, dtype='{dtype}')",
        )


def check_array_names(given: Sequence[str], known: Sequence[str]) -> None:
    """Refuses names of arrays that are unknown, or missing.

    Raises:
        InputError: It says which.
    """
    for name in given:
        if name not in known:
            do = "pass exactly these arrays"
            raise unknown(InputError, f"The program has no input {name!r}.", name, known, do=do)
    missing = [name for name in known if name not in given]
    if missing:
        raise InputError(
            f"The input {', '.join(map(repr, missing))} is missing.",
            got=", ".join(given) or "no inputs",
            allowed=", ".join(known),
            do="pass exactly these arrays",
        )


def _fits(
    shapes: Mapping[str, tuple[int, ...]],
    inputs: Sequence[TensorSpec],
    buckets: Sequence[Shape],
    state: Mapping[str, int] | None,
) -> bool:
    """Whether one size for each free dim explains all shapes, and none is larger than it may be."""
    sizes = dict(state or {})
    for spec in inputs:
        shape = shapes[spec.name]
        if len(shape) != len(spec.shape):
            return False
        for dim, size in zip(spec.shape, shape, strict=True):
            expected = dim if isinstance(dim, int) else sizes.setdefault(dim, size)
            if size != expected or size < 1:
                return False
    largest = Shape.largest(buckets).sizes
    return all((dim == BATCH_DIM and state is None) or size <= largest.get(dim, size) for dim, size in sizes.items())
