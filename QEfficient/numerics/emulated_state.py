"""State as a card keeps it: in fp16, or in MXINT8."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.backends.card_options import MXINT8
from QEfficient.backends.onnxruntime_state import OnnxRuntimeStateSession
from QEfficient.numerics.formats import BLOCK, mxint8
from QEfficient.records import BATCH_INDEX, Program, TensorSpec


class EmulatedStateSession(OnnxRuntimeStateSession):
    """A program that computes as a card, and keeps state as one; see :mod:`QEfficient.numerics.emulate`.

    The graph itself rounds state to fp16 at every store. With ``mxint8_kv_cache`` what a run leaves is rounded to
    MXINT8 behind it: what it wrote is read back in 8 bits by the next run, and as it was by its own attention. Which
    axis a card's blocks lie along is not published: here 32 numbers of the last axis share a scale. What is rounded so
    can be said in fp16 too, in which both are read and written.
    """

    backend = "emulator"
    kept = "float16"

    def __init__(self, program: Program, *, strict: bool) -> None:
        self._blocks = bool(program.manifest.options.flags.get(MXINT8))
        super().__init__(program, strict=strict)

    def _call(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        results = super()._call(arrays)
        if self._blocks:
            self._round(_touched(arrays, int(self.states[0].shape[0])))
        return results

    def write(self, slot: int, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Makes a slot hold ``state``, in MXINT8 where state is."""
        super().write(slot, state)
        if self._blocks:
            self._round([slot])

    def _round(self, slots: list[int]) -> None:
        """What is in the format stays as it is, so whole slots are rounded."""
        for buffer in self._buffers.values():
            if buffer.dtype == np.float32:
                for slot in slots:
                    buffer[slot] = mxint8(buffer[slot], axis=-1)

    def _bytes(self, spec: TensorSpec) -> int:
        """What a card needs: in MXINT8 one byte a number, and one for each shared scale."""
        if not self._blocks or spec.dtype != self.kept:
            return super()._bytes(spec)
        *rows, length = map(int, spec.shape)
        return math.prod(rows) * (length + -(-length // BLOCK))


def _touched(arrays: Mapping[str, NDArray[np.generic]], slots: int) -> list[int]:
    """The slots that a run may have written into: those it names and the scratch slot; all, without ``batch_index``."""
    if BATCH_INDEX not in arrays:
        return list(range(slots))
    named = {int(slot) for slot in arrays[BATCH_INDEX].flat}
    return sorted({slot if 0 <= slot < slots else slots - 1 for slot in named} | {slots - 1})
