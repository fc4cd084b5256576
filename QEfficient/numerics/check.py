"""How two sets of numbers are compared, and the check that a model's own numbers do not depend on its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import NumericsError, VerificationError
from QEfficient.records import TensorSpec
from QEfficient.runtime.run import frame_count

Array = NDArray[np.generic]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Inputs by name → outputs by name."""

PADDING_COSINE, PADDING_DIFFERENCE = 0.9999, 1e-3


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two ways to run a model are compared.

    Attributes:
        name: What is checked, for errors.
        outputs: The graph's outputs; where the second dim is free, only what belongs to real tokens counts.
        whole: Take an output as one vector. Logits are compared so: a row of one or two of them has no direction worth
            a cosine, and may be near 0. Embeddings are compared vector by vector.
        frames: As ``RowRules.frames``.
    """

    name: str
    outputs: Sequence[TensorSpec]
    whole: bool = False
    frames: Sequence[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class Vectors:
    """What of an output is compared.

    Attributes:
        values: ``(vectors, dim)``, float64.
        rows: The row that each vector belongs to.
    """

    values: NDArray[np.float64]
    rows: NDArray[np.int64]


def vectors(array: Array, spec: TensorSpec, inputs: Mapping[str, Array], frames: Sequence[tuple[int, ...]]) -> Vectors:
    """An output as vectors, without what stands at padding.

    Args:
        array: The output, ``(rows, …)``; ``(batch, channels, height, width)`` is one vector a place.
        spec: Its spec; a free second dim is one of tokens, or frames.
        inputs: The arrays that it came from.
        frames: As ``RowRules.frames``.
    """
    rows = np.arange(len(array))
    mask = inputs.get("attention_mask")
    if mask is not None and len(spec.shape) > 1 and isinstance(spec.shape[1], str):
        real = _real(mask, array.shape[1], frames)
        rows, array = np.nonzero(real)[0], array[real]
    if array.ndim == 4:
        array = np.moveaxis(array, 1, -1)
    if array.ndim > 2:
        rows = rows.repeat(int(np.prod(array.shape[1:-1])))
    values = array.astype(np.float64).reshape(len(rows), array.shape[-1] if array.ndim > 1 else 1)
    return Vectors(values, rows)


def _real(mask: Array, width: int, frames: Sequence[tuple[int, ...]]) -> NDArray[np.bool_]:
    """Which tokens, or frames, of ``width`` belong to the rows."""
    if width == mask.shape[1]:
        return mask.astype(bool)
    lengths = np.array([frame_count(int(length), frames) for length in mask.sum(1)])  # clips are padded at their end
    return np.asarray(np.arange(width) < lengths[:, None])


def figures(want: NDArray[np.float64], got: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine of each pair of vectors, and their largest absolute difference ÷ the norm of ``want``.

    The second sees scale, which a cosine does not. Two zero vectors agree.

    Args:
        want: ``(vectors, dim)``; finite.
        got: Of the same shape. A vector with NaN or Inf in it has the cosine -1 and the difference Inf.
    """
    finite = np.asarray(np.isfinite(got).all(axis=-1))
    got = np.where(finite[:, None], got, 0.0)
    norms, others = np.linalg.norm(want, axis=-1), np.linalg.norm(got, axis=-1)
    cosine = (want * got).sum(-1) / np.maximum(norms * others, 1e-24)
    cosine = np.where((norms < 1e-12) & (others < 1e-12), 1.0, cosine)
    difference = np.abs(want - got).max(-1, initial=0.0) / np.maximum(norms, 1e-12)
    return np.where(finite, cosine, -1.0), np.where(finite, difference, np.inf)


def check_shapes(want: Array, got: Array, where: str) -> None:
    """Refuses an output of another shape than HuggingFace's.

    Args:
        want: HuggingFace's.
        got: The candidate's.
        where: What the candidate is.

    Raises:
        VerificationError: Without figures, since there is nothing to compare.
    """
    if want.shape != got.shape:
        raise VerificationError(
            f"{where[:1].upper()}{where[1:]} gives another shape than HuggingFace.",
            got=f"{got.shape}",
            allowed=f"{want.shape}",
            do="report the model; a graph of your own needs the model's head, its pooling included",
            verification=None,
        )


def has_length(array: Array, mask: Array) -> bool:
    """Whether an input has an entry a token or frame, and not the channels of an image."""
    return array.ndim < 4 and array.shape[1:2] == mask.shape[1:]


def check_padding(
    reference: Run,
    inputs: Iterable[Mapping[str, Array]],
    how: Comparison,
    do: str = "use a model, and a pooling, that leave out what attention_mask hides",
) -> None:
    """Refuses a model whose own numbers for a row depend on the padding behind it: no batch of it can be right.

    Args:
        reference: HuggingFace's own model with the head, in float32; or a program.
        inputs: Batches of rows of unequal lengths.
        how: Its name is the error's first words.
        do: What the reader may do about it.

    Raises:
        NumericsError: A row alone and the same row padded differ.
    """
    for arrays in inputs:
        if "attention_mask" not in arrays:
            return
        mask = arrays["attention_mask"]
        lengths = mask.shape[1] - np.argmax(mask[:, ::-1], axis=1)
        row = int(lengths.argmin())
        length = int(lengths[row])
        if length == mask.shape[1]:
            continue
        one = {key: array[row : row + 1] for key, array in arrays.items()}
        cut = {key: array[:, :length] if has_length(array, mask) else array for key, array in one.items()}
        alone, padded = reference(cut), reference(arrays)
        for spec in how.outputs:
            want = vectors(alone[spec.name], spec, cut, how.frames).values
            got = vectors(padded[spec.name][row : row + 1], spec, one, how.frames).values
            if how.whole:
                want, got = want.reshape(1, -1), got.reshape(1, -1)
            cosine, difference = figures(want, got)
            if np.min(cosine, initial=1.0) < PADDING_COSINE or np.max(difference, initial=0.0) > PADDING_DIFFERENCE:
                raise NumericsError(
                    f"{how.name} gives a row other numbers when padding stands behind it, so what a row gets would "
                    "depend on its neighbours.",
                    got=f"cosine {np.min(cosine):.7f}, difference {np.max(difference):.2e} of the row's norm",
                    allowed=f"cosine ≥ {PADDING_COSINE}, difference ≤ {PADDING_DIFFERENCE} between a row alone "
                    "and padded",
                    do=do,
                )
