"""Vectors beside each other: length 1, similarity, tensors for those who ask for them. No torch otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.errors import InputError

Vectors = NDArray[np.float32]

TINY = 1e-12  # smallest norm that is divided by, as torch.nn.functional.normalize has it


def normalize(vectors: Vectors) -> Vectors:
    """Each row scaled to length 1; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, TINY), dtype=np.float32)


def tensor(array: NDArray[Any]) -> Any:
    """The array as a torch tensor."""
    import torch  # only for callers who ask for tensors

    return torch.from_numpy(np.ascontiguousarray(array))


def similarity(name: str, first: Any, second: Any, *, pairwise: bool) -> Any:
    """Similarity in float32; distances are negated so that more is nearer.

    Args:
        name: ``"cosine"``, ``"dot"``, ``"euclidean"`` or ``"manhattan"``.
        first: ``(n, dim)``, or one vector ``(dim,)``.
        second: ``(m, dim)``, or one vector.
        pairwise: Rows at equal positions, ``(n,)``, instead of every pair, ``(n, m)``.
    """
    tensors = any(hasattr(value, "detach") for value in (first, second))
    a, b = _matrix("embeddings1", first), _matrix("embeddings2", second)
    if a.shape[-1] != b.shape[-1] or (pairwise and len(a) != len(b)):
        raise InputError(
            "The two sets of vectors do not fit together.",
            got=f"{a.shape} and {b.shape}",
            allowed="equal dims" + (" and equal numbers of rows" if pairwise else ""),
            do="encode both with the same model and truncate_dim",
        )
    scores = _SIMILARITIES[name](a, b, pairwise).astype(np.float32, copy=False)
    return tensor(scores) if tensors else scores


def _matrix(name: str, value: Any) -> NDArray[np.float32]:
    given = arguments.arrays(name, value, "vectors")
    try:
        array = np.asarray(arguments.on_host(given))
        found = np.atleast_2d(array).astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} holds no vectors.",
            got=f"{type(value).__name__}: {error}",
            allowed="(n, dim) floats, or a list of n vectors of equal length",
            do="pass what encode returns",
        ) from error
    if array.dtype in (np.int8, np.uint8):
        raise InputError(
            f"{name} holds codes, whose product is no similarity of the vectors that they stand for.",
            got=f"{array.dtype} of shape {array.shape}",
            allowed="float vectors",
            do="search codes with QEfficient.QuantizedEmbeddings(codes, precision, ranges).search(queries)",
        )
    return found


def _dot(a: Vectors, b: Vectors, pairwise: bool) -> NDArray[Any]:
    return np.einsum("nd,nd->n", a, b) if pairwise else a @ b.T


def _cosine(a: Vectors, b: Vectors, pairwise: bool) -> NDArray[Any]:
    return _dot(normalize(a), normalize(b), pairwise)


def _euclidean(a: Vectors, b: Vectors, pairwise: bool) -> NDArray[Any]:
    if pairwise:
        return np.asarray(-np.linalg.norm(a - b, axis=-1))
    return -np.stack([np.linalg.norm(row - b, axis=-1) for row in a])


def _manhattan(a: Vectors, b: Vectors, pairwise: bool) -> NDArray[Any]:
    if pairwise:
        return np.asarray(-np.abs(a - b).sum(-1))
    return -np.stack([np.abs(row - b).sum(-1) for row in a])


_SIMILARITIES: dict[str, Callable[[Vectors, Vectors, bool], NDArray[Any]]] = {
    "cosine": _cosine,
    "dot": _dot,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}
