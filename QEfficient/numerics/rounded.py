"""Weights that are rounded while they are written, so that none is ever whole in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from QEfficient.numerics.formats import BLOCK, Format, round_blocks, round_fp16
from QEfficient.onnx_transforms import weights


class Rounded(ir.Tensor[Any]):
    """The numbers of another tensor, of the same type, as a card stores them.

    Args:
        source: A tensor of floats.
        half: Whether its numbers are rounded to fp16, after the block format.
        blocks: A block format, or ``None``.
        axis: -1 or -2: where 32 numbers make a block.
    """

    def __init__(self, source: ir.TensorProtocol, *, half: bool, blocks: Format | None = None, axis: int = -1) -> None:
        super().__init__(source, source.dtype, shape=ir.Shape(source.shape.numpy()), name=source.name)
        self.source, self.half, self.blocks, self.axis = source, half, blocks, axis

    def pieces(self) -> Iterator[NDArray[np.generic]]:
        """The rounded numbers in order, flat; a piece is made of whole blocks."""
        dtype = self.source.dtype.numpy()
        for piece in weights.blocks(self.source, self._piece_bytes()):
            values = np.asarray(piece, np.float32)
            if self.blocks is not None:
                values = self._round(values, self.blocks)
            yield (round_fp16(values) if self.half else values).astype(dtype, copy=False)

    def _unit(self) -> tuple[int, int]:
        """Rows and columns of the smallest run of numbers that is made of whole blocks."""
        rows, columns = self.source.shape.numpy()[-2:]
        if self.axis == -1:
            return (1, columns)
        return (BLOCK, columns) if rows % BLOCK == 0 else (rows, columns)

    def _piece_bytes(self) -> int:
        if self.blocks is None:
            return weights.BLOCK_BYTES
        unit = max(1, math.prod(self._unit())) * self.source.dtype.itemsize
        return int(max(1, weights.BLOCK_BYTES // unit) * unit)

    def _round(self, values: NDArray[np.float32], name: Format) -> NDArray[np.float32]:
        parts = values.reshape(-1, *self._unit())
        return round_blocks(parts, self.axis, name).reshape(-1)

    def numpy(self) -> NDArray[np.generic]:
        """All of it, in memory."""
        pieces = list(self.pieces())
        flat = np.concatenate(pieces) if pieces else np.empty(0, self.source.dtype.numpy())
        return flat.reshape(self.source.shape.numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.generic]:
        return self.numpy().astype(dtype or self.dtype.numpy(), copy=False)

    def tobytes(self) -> bytes:
        """Its bytes as ONNX stores them."""
        return b"".join(piece.astype(piece.dtype.newbyteorder("<"), copy=False).tobytes() for piece in self.pieces())

    def tofile(self, file: IO[bytes]) -> None:
        """Writes these bytes piece by piece."""
        for piece in self.pieces():
            file.write(piece.astype(piece.dtype.newbyteorder("<"), copy=False).tobytes())
