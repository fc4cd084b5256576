"""The check that every export passes: the graph's numbers against the untouched HuggingFace model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import NumericsError
from QEfficient.records import Json, TensorSpec
from QEfficient.runtime.run import frame_count

Array = NDArray[np.generic]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Inputs by name → outputs by name."""

MIN_COSINE = 0.9999
MAX_DIFFERENCE = 1e-3


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two sets of vectors agree.

    Attributes:
        min_cosine: Least cosine over the rows.
        max_difference: Largest absolute difference of a row ÷ the norm of the reference row; sees scale, which a
            cosine does not.
        rows: How many vectors were compared.
    """

    min_cosine: float
    max_difference: float
    rows: int


def compare(reference: Array, candidate: Array) -> Agreement:
    """Agreement of two arrays of vectors.

    Args:
        reference: Shape ``(rows, dim)``; computed in float64.
        candidate: Of the same shape.

    Raises:
        NumericsError: NaN or Inf in either, or unequal shapes.
    """
    _check_shapes(reference, candidate)
    a, b = reference.astype(np.float64), candidate.astype(np.float64)
    for name, array in (("HuggingFace", a), ("the exported graph", b)):
        if not np.isfinite(array).all():
            raise NumericsError(
                f"NaN or Inf in the output of {name}.",
                got=f"{int((~np.isfinite(array)).sum())} of {array.size} values",
                allowed="finite numbers",
                do="check the weights for NaN and Inf",
            )
    norms = np.linalg.norm(a, axis=-1)
    scale = np.maximum(norms, 1e-12)
    cosine = (a * b).sum(-1) / np.maximum(norms * np.linalg.norm(b, axis=-1), 1e-24)
    cosine = np.where((norms < 1e-12) & (np.linalg.norm(b, axis=-1) < 1e-12), 1.0, cosine)
    difference = np.abs(a - b).max(-1, initial=0.0) / scale
    return Agreement(float(cosine.min(initial=1.0)), float(difference.max(initial=0.0)), int(norms.size))


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two ways to run a model are compared.

    Attributes:
        name: What is checked, for errors.
        outputs: The graph's outputs; where the second dim is free, only what belongs to real tokens counts.
        whole: Take an output as one vector. Logits are compared so: a row of one or two of them has no direction worth
            a cosine, and may be near 0. Embeddings are compared vector by vector.
        frames: As ``ModelFacts.frames``.
    """

    name: str
    outputs: Sequence[TensorSpec]
    whole: bool = False
    frames: Sequence[tuple[int, ...]] = ()


def check_padding(reference: Run, inputs: list[dict[str, Array]], how: Comparison) -> None:
    """Refuses a model whose own numbers for a row depend on the padding behind it: no batch of it can be right.

    Args:
        reference: HuggingFace's own model with the head, in float32.
        inputs: As :func:`probes.probes` makes them.
        how: Its name is the error's first words.

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
        cut = {key: array[:, :length] if array.shape == (1, mask.shape[1]) else array for key, array in one.items()}
        alone, padded = reference(cut), reference(arrays)
        for spec in how.outputs:
            want = _vectors(alone[spec.name], spec, cut, how)
            found = compare(want, _vectors(padded[spec.name][row : row + 1], spec, one, how))
            if found.min_cosine < MIN_COSINE or found.max_difference > MAX_DIFFERENCE:
                raise NumericsError(
                    f"{how.name} gives a row other numbers when padding stands behind it, so what a row gets would "
                    "depend on its neighbours.",
                    got=f"cosine {found.min_cosine:.7f}, difference {found.max_difference:.2e} of the row's norm",
                    allowed=f"cosine ≥ {MIN_COSINE}, difference ≤ {MAX_DIFFERENCE} between a row alone and padded",
                    do="use a model, and a pooling, that leave out what attention_mask hides",
                )


def check(reference: Run, candidate: Run, inputs: list[dict[str, Array]], how: Comparison) -> dict[str, Json]:
    """Compares two ways to run a model and refuses a graph that differs.

    Args:
        reference: HuggingFace's own model with the head, in float32.
        candidate: The exported graph.
        inputs: As :func:`probes.probes` makes them.
        how: Which outputs, and how.

    Returns:
        The result for the manifest: figures and limits.

    Raises:
        NumericsError: Past a limit.
    """
    parts = []
    for arrays in inputs:
        want, got = reference(arrays), candidate(arrays)
        for spec in how.outputs:
            _check_shapes(want[spec.name], got[spec.name])
            parts.append(compare(*(_vectors(side[spec.name], spec, arrays, how) for side in (want, got))))
    total = Agreement(
        min(p.min_cosine for p in parts), max(p.max_difference for p in parts), sum(p.rows for p in parts)
    )
    if total.min_cosine < MIN_COSINE or total.max_difference > MAX_DIFFERENCE:
        raise NumericsError(
            f"The exported graph of {how.name!r} does not give HuggingFace's numbers, so it was thrown away.",
            got=f"min cosine {total.min_cosine:.7f}, largest difference {total.max_difference:.2e} of the row's norm",
            allowed=f"cosine ≥ {MIN_COSINE}, difference ≤ {MAX_DIFFERENCE}",
            do="report the model's type; this version can't serve it",
        )
    return asdict(total) | {"limits": {"min_cosine": MIN_COSINE, "max_difference": MAX_DIFFERENCE}}


def _vectors(array: Array, spec: TensorSpec, arrays: Mapping[str, Array], how: Comparison) -> Array:
    """What of an output is compared, as ``(vectors, dim)``."""
    mask = arrays.get("attention_mask")
    if mask is not None and len(spec.shape) > 1 and isinstance(spec.shape[1], str):
        if array.shape[1] == mask.shape[1]:
            array = array[mask.astype(bool)]
        else:  # frames: clips are padded at their end only
            lengths = [frame_count(int(length), how.frames) for length in mask.sum(1)]
            array = np.concatenate([row[:length] for row, length in zip(array, lengths, strict=True)])
    if array.ndim == 4:  # a map (rows, channels, height, width): one vector a place
        array = np.moveaxis(array, 1, -1)
    return array.reshape(1, -1) if how.whole or array.ndim < 2 else array.reshape(-1, array.shape[-1])


def _check_shapes(reference: Array, candidate: Array) -> None:
    if reference.shape != candidate.shape:
        raise NumericsError(
            "The exported graph gives another shape than HuggingFace.",
            got=f"{candidate.shape}",
            allowed=f"{reference.shape}",
            do="report the model; its graph is not to be trusted",
        )
