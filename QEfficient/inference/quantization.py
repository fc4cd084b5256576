"""Float vectors → codes of 8 bits or 1 bit a dimension, bit for bit as sentence-transformers makes them. No torch.

A code of 8 bits is ``floor((value - start) / step)`` with 255 steps from the least to the largest value of its
dimension, its *ranges*; int8 is the same less 128. A code of 1 bit says whether the value is above 0; eight of them are
a byte. The formulas are those of ``sentence_transformers.util.quantize_embeddings`` (version 6.2).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.errors import InputError
from QEfficient.inference.ranges import checked_ranges, find_ranges, finite, floats, grid, no_vectors, on_host

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]

PRECISIONS: tuple[str, ...] = get_args(Precision)
CODES = PRECISIONS[1:]
SCALAR = ("int8", "uint8")  # one byte a dimension, on a grid that ranges say
SIGNED = ("int8", "binary")


def quantize_embeddings(embeddings: Any, precision: str, ranges: Any = None, calibration_embeddings: Any = None) -> Any:
    """Vectors → codes, with the arguments and results of ``sentence_transformers.util.quantize_embeddings``.

    >>> import numpy as np
    >>> vectors = np.random.default_rng(0).normal(size=(200, 384)).astype(np.float32)
    >>> quantize_embeddings(vectors, "int8").shape, quantize_embeddings(vectors, "ubinary").shape
    ((200, 384), (200, 48))

    Codes of int8 and uint8 are no vectors: their dot product is no similarity until start and step of each dimension
    are put back. :class:`QEfficient.QuantizedEmbeddings` searches them so.

    Args:
        embeddings: ``(n, dim)`` or ``(dim,)`` floats, or a list of such rows; tensors are taken too. A list of
            ``(tokens, dim)`` matrices gives a list of matrices that share their ranges.
        precision: ``"int8"``, ``"uint8"``: a byte a dimension. ``"binary"`` (int8), ``"ubinary"`` (uint8): a bit a
            dimension, the first one highest in its byte. ``"float32"`` changes the dtype only.
        ranges: For int8 and uint8: the least and the largest value of each dimension, ``(2, dim)``. Values outside get
            the code of the nearest end.
        calibration_embeddings: For int8 and uint8 without ``ranges``: vectors ``(m, dim)`` to take them from; left
            out, ``embeddings`` themselves, with a warning below 100 of them.

    Returns:
        ``(n, dim)`` int8 or uint8, ``(n, ceil(dim / 8))`` for the binary ones, or a list of these.

    Raises:
        InputError: No floats, NaN or infinity, or ranges of another width.
        OptionError: Ranges would have to come from a single vector.
        UsageError: No such precision.
    """
    arguments.one_of("precision", precision, PRECISIONS)
    if isinstance(embeddings, list):
        if not embeddings:
            return []
        embeddings = [on_host(one) if hasattr(one, "detach") else one for one in embeddings]
        if isinstance(embeddings[0], np.ndarray) and embeddings[0].ndim == 2:
            if precision in SCALAR and ranges is None:
                ranges = _shared_ranges(embeddings, precision, calibration_embeddings)
            return [quantize_embeddings(one, precision, ranges, calibration_embeddings) for one in embeddings]
    vectors = floats(embeddings)
    if vectors.ndim == 2 and not len(vectors):
        return np.zeros((0, code_width(vectors.shape[1], precision)), code_type(precision))
    if precision == "float32":
        return vectors.astype(np.float32)
    finite(vectors)
    if precision not in SCALAR:
        bits = np.packbits(vectors > 0, axis=-1)
        return bits if precision == "ubinary" else (bits - 128).astype(np.int8)
    if vectors.ndim > 2:
        raise no_vectors(f"{vectors.dtype} of shape {vectors.shape}")
    if ranges is None:
        ranges = find_ranges(vectors, precision, calibration_embeddings)
    starts, steps = grid(checked_ranges(ranges, vectors.shape[-1]))
    codes = np.clip(np.floor((vectors - starts) / steps), 0, 255)
    return codes.astype(np.uint8) if precision == "uint8" else (codes - 128).astype(np.int8)


def dequantize_embeddings(
    codes: NDArray[Any], precision: str, ranges: NDArray[Any] | None, dim: int
) -> NDArray[np.float32]:
    """Codes → the vectors that they stand for: ``code · step + start`` a dimension, or -1 and 1 for a bit.

    Args:
        codes: ``(n, width)``.
        precision: What they are.
        ranges: ``(2, dim)`` for int8 and uint8.
        dim: Of the vectors; the last byte of binary codes may hold bits of no dimension.
    """
    if precision not in SCALAR:
        return 2 * np.unpackbits(as_bits(codes), axis=-1, count=dim).astype(np.float32) - 1
    starts, steps = grid(np.asarray(ranges))
    return (codes.astype(np.float32) + (128 if precision == "int8" else 0)) * steps + starts


def as_bits(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Binary codes as the bytes that were packed: those of ``"binary"``, which are int8, are less 128."""
    return codes if codes.dtype == np.uint8 else codes.view(np.uint8) ^ np.uint8(128)


def code_width(dim: int, precision: str) -> int:
    """How many numbers the code of a vector has."""
    return (dim + 7) // 8 if precision.endswith("binary") else dim


def code_type(precision: str) -> type[np.generic]:
    """What these numbers are."""
    if precision == "float32":
        return np.float32
    return np.int8 if precision in SIGNED else np.uint8


def _shared_ranges(matrices: list[Any], precision: str, calibration_embeddings: Any) -> NDArray[Any] | None:
    if calibration_embeddings is not None:
        return find_ranges(matrices[0], precision, calibration_embeddings)
    try:
        rows = finite(np.concatenate([floats(one) for one in matrices]))
    except ValueError as error:  # ours is one too
        raise error if isinstance(error, InputError) else no_vectors(f"matrices of unlike shapes: {error}") from error
    return find_ranges(rows, precision, stacklevel=4) if len(rows) else None
