"""The check that every export passes: the graph's numbers against the untouched HuggingFace model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import NumericsError
from QEfficient.records import Json

Array = NDArray[np.generic]
Run = Callable[[Mapping[str, Array]], Array]

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
    if reference.shape != candidate.shape:
        raise NumericsError(
            "The exported graph gives another shape than HuggingFace.",
            got=f"{candidate.shape}",
            allowed=f"{reference.shape}",
            do="report the model; its graph is not to be trusted",
        )
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


def probes(vocab_size: int, limit: int, pad_id: int, *, token_types: bool, seed: int = 0) -> list[dict[str, Array]]:
    """Inputs that move what exporters get wrong: length, batch 1, length 1, left and right padding.

    The longest comes first, because a model may work otherwise on long rows, and may stay with what it did on a short
    one (BigBird's attention).

    Args:
        vocab_size: Ids are drawn below it.
        limit: Tokens of the longest probe.
        pad_id: Fills the masked columns.
        token_types: Whether the graph takes ``token_type_ids``; the second half of a row gets type 1.
        seed: Of the ids.

    Returns:
        One mapping of int64 arrays ``(rows, length)`` a probe.
    """
    rng = np.random.default_rng(seed)
    result = []
    for rows, length in ((1, limit), (1, 1), (3, 11), (2, 40)):
        length = min(length, limit)
        ids = rng.integers(0, vocab_size, (rows, length))
        ids[ids == pad_id] = (pad_id + 1) % vocab_size
        mask = np.ones_like(ids)
        if rows > 1 and length > 2:
            mask[1, length // 2 :] = 0
        if rows > 2 and length > 2:
            mask[2, : length // 3] = 0
        ids[mask == 0] = pad_id
        arrays: dict[str, Array] = {"input_ids": ids, "attention_mask": mask}
        if token_types:
            arrays["token_type_ids"] = np.where(np.arange(length) >= length // 2, 1, 0) * mask
        result.append(arrays)
    return result


def check_padding(reference: Run, inputs: list[dict[str, Array]], name: str) -> None:
    """Refuses a model whose own numbers for a row depend on the padding behind it: no batch of it can be right.

    Args:
        reference: HuggingFace's own model with the head, in float32.
        inputs: As :func:`probes` makes them.
        name: What it is, as the error's first words.

    Raises:
        NumericsError: A row alone and the same row padded differ.
    """
    for arrays in inputs:
        mask = arrays["attention_mask"]
        lengths = mask.shape[1] - np.argmax(mask[:, ::-1], axis=1)
        row = int(lengths.argmin())
        length = int(lengths[row])
        if length == mask.shape[1]:
            continue
        alone = reference({key: array[row : row + 1, :length] for key, array in arrays.items()})[0]
        padded = reference(arrays)[row]
        if alone.ndim == 2:  # one vector a token
            padded = padded[:length]
        found = compare(np.atleast_2d(alone), np.atleast_2d(padded))
        if found.min_cosine < MIN_COSINE or found.max_difference > MAX_DIFFERENCE:
            raise NumericsError(
                f"{name} gives a row other numbers when padding stands behind it, so what a row gets would depend on "
                "its neighbours.",
                got=f"cosine {found.min_cosine:.7f}, difference {found.max_difference:.2e} of the row's norm",
                allowed=f"cosine ≥ {MIN_COSINE}, difference ≤ {MAX_DIFFERENCE} between a row alone and padded",
                do="use a model, and a pooling, that leave out what attention_mask hides",
            )


def check(reference: Run, candidate: Run, inputs: list[dict[str, Array]], name: str) -> dict[str, Json]:
    """Compares two ways to run a model and refuses a graph that differs.

    Args:
        reference: HuggingFace's own model with the head, in float32.
        candidate: The exported graph.
        inputs: As :func:`probes` makes them.
        name: The model's name, for the error.

    Returns:
        The result for the manifest: figures and limits.

    Raises:
        NumericsError: Past a limit.
    """
    parts = []
    for arrays in inputs:
        want, got = reference(arrays), candidate(arrays)
        if want.ndim == 3 and want.shape == got.shape:  # one vector a token: only real tokens count
            real = arrays["attention_mask"].astype(bool)
            want, got = want[real], got[real]
        parts.append(compare(want, got))
    total = Agreement(
        min(p.min_cosine for p in parts), max(p.max_difference for p in parts), sum(p.rows for p in parts)
    )
    if total.min_cosine < MIN_COSINE or total.max_difference > MAX_DIFFERENCE:
        raise NumericsError(
            f"The exported graph of {name!r} does not give HuggingFace's numbers, so it was thrown away.",
            got=f"min cosine {total.min_cosine:.7f}, largest difference {total.max_difference:.2e} of the row's norm",
            allowed=f"cosine ≥ {MIN_COSINE}, difference ≤ {MAX_DIFFERENCE}",
            do="report the model's type; this version can't serve it",
        )
    return asdict(total) | {"limits": {"min_cosine": MIN_COSINE, "max_difference": MAX_DIFFERENCE}}
