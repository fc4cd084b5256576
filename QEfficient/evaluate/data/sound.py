"""Clips of sound: what a row may hold, and its samples."""

from __future__ import annotations

import importlib
import io
import wave
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError
from QEfficient.evaluate.data.cells import UNFIT, Cells, encoded, number_array, plain, read_each

Clip: TypeAlias = tuple[NDArray[np.float32], int | None]
"""Samples between -1 and 1, ``(samples,)``, and how many there are a second, where that is known."""


def read_audio(cells: Cells) -> list[Any]:
    """A clip a row: ``{"array": (samples,) float32, "sampling_rate": int | None}``, bytes of a file, or a path.

    Files are only looked at here: what they hold is read by :func:`load_clip` when it is their turn.

    Raises:
        InputError: A row holds none, or a path at which there is none.
    """

    def read(value: Any) -> Any:
        value = encoded(plain(value))
        if isinstance(value, (bytes, str)):
            return value if _is_clip(value) else UNFIT
        if hasattr(value, "get_all_samples"):  # torchcodec's, which datasets decodes with where it is installed
            value = {"array": value["array"], "sampling_rate": value["sampling_rate"]}
        rate = plain(value.get("sampling_rate")) if isinstance(value, Mapping) else None
        array = number_array(value.get("array") if isinstance(value, Mapping) else value)
        if array is None or array.ndim != 1 or not array.size or not np.isfinite(array).all():
            return UNFIT
        return {"array": array.astype(np.float32), "sampling_rate": rate}

    allowed = (
        'an array of one dim of finite samples, {"array": …, "sampling_rate": …}, '
        'the path of a file that is there, or {"bytes": …, "path": …}; WAV, and more where soundfile is installed'
    )
    return read_each(cells, read, "is no clip of sound", allowed, "pass one of these a row; mix channels down to one")


def load_clip(value: Any) -> Clip:
    """The samples of a clip as :func:`read_audio` gives it; several channels as their mean.

    Raises:
        InputError: A file that was there is gone, or it is broken.
    """
    if isinstance(value, Mapping):
        return value["array"], value["sampling_rate"]
    found = _read(value)
    if found is None:
        raise InputError(
            "A clip of sound can't be read.",
            got=f"{len(value)} bytes" if isinstance(value, bytes) else value,
            allowed="a file in WAV, or another one where soundfile is installed",
            do="check the file, or decode it yourself and pass the samples",
        )
    return found


def _is_clip(value: bytes | str) -> bool:
    """Whether a file's head is one of a clip; its samples are not read."""
    return _wave(value, head=True) is not None or _read(value) is not None


def _read(value: bytes | str) -> Clip | None:
    return _wave(value) or _soundfile(value)


def _wave(value: bytes | str, head: bool = False) -> Clip | None:
    """Samples of whole numbers in WAV; ``None`` for all else. Of the head alone, none."""
    try:
        with wave.open(io.BytesIO(value) if isinstance(value, bytes) else value, "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.readframes(0 if head else file.getnframes())
            empty = not file.getnframes()
    except (wave.Error, EOFError, OSError):
        return None
    if empty:
        return None
    frames = frames[: len(frames) - len(frames) % (width * channels)]  # of a file that was cut off
    return _floats(frames, width).reshape(-1, channels).mean(1, dtype=np.float32), rate


def _floats(frames: bytes, width: int) -> NDArray[np.float32]:
    """Samples of 8 bits have no sign; wider ones do, the low byte first."""
    if width == 1:
        return ((np.frombuffer(frames, np.uint8) - 128.0) / 128).astype(np.float32)
    if width == 3:  # the top three bytes of four
        padded = np.zeros((len(frames) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(frames, np.uint8).reshape(-1, 3)
        frames, width = padded.tobytes(), 4
    return (np.frombuffer(frames, f"<i{width}") / float(2 ** (8 * width - 1))).astype(np.float32)


def _soundfile(value: bytes | str) -> Clip | None:
    """Other formats, where the package is installed; nothing of the library needs it."""
    try:
        soundfile = importlib.import_module("soundfile")
    except (ModuleNotFoundError, OSError):  # the second where its own library is missing
        return None
    read = partial(soundfile.read, dtype="float32", always_2d=True)
    try:
        samples, rate = read(io.BytesIO(value) if isinstance(value, bytes) else str(Path(value)))
    except (RuntimeError, OSError):  # soundfile's own errors are RuntimeErrors
        return None
    return samples.mean(1, dtype=np.float32), int(rate)
