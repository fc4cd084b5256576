"""Images and clips of sound: what a row may hold, and its bytes."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import MissingExtraError
from QEfficient.evaluate.data.cells import UNFIT, Cells, plain, read_each

_AS_THEY_ARE = ("L", "RGB", "RGBA")  # modes of PIL whose array says everything


def read_images(cells: Cells) -> list[Any]:
    """A PIL image, an array or a path a row.

    Raises:
        InputError: A row holds none, or a path at which there is none.
        MissingExtraError: Images come as bytes or as paths, and Pillow is not installed.
    """

    def read(value: Any) -> Any:
        value = _encoded(plain(value))
        if isinstance(value, bytes):
            return _opened(io.BytesIO(value))
        if isinstance(value, str):
            return UNFIT if _opened(value) is UNFIT else value
        if hasattr(value, "getbands"):  # a PIL image
            return value
        array = _array(value)
        return array if array is not None and array.ndim in (2, 3) and array.size else UNFIT

    allowed = 'a PIL image, an array of 2 or 3 dims, the path of a file that is there, or {"bytes": …, "path": …}'
    return read_each(cells, read, "is no image", allowed, "pass one of these a row")


def read_audio(cells: Cells) -> list[Any]:
    """A clip a row: ``{"array": (samples,) float32, "sampling_rate": int | None}``, bytes of a file, or a path.

    Raises:
        InputError: A row holds none, or a path at which there is no file.
    """

    def read(value: Any) -> Any:
        value = _encoded(plain(value))
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value if os.path.isfile(value) else UNFIT
        rate = plain(value.get("sampling_rate")) if isinstance(value, Mapping) else None
        array = _array(value.get("array") if isinstance(value, Mapping) else value)
        if array is None or array.ndim != 1 or not array.size or not np.isfinite(array).all():
            return UNFIT
        return {"array": array.astype(np.float32), "sampling_rate": rate}

    allowed = (
        'a one-dim array of finite samples, {"array": …, "sampling_rate": …}, '
        'the path of a file that is there, or {"bytes": …, "path": …}'
    )
    return read_each(cells, read, "is no clip of sound", allowed, "pass one of these a row; mix channels down to one")


def image_array(value: Any) -> NDArray[Any]:
    """The pixels of an image, whatever it is held as: ``(height, width)`` or ``(height, width, channels)``.

    Raises:
        MissingExtraError: It is a path, and Pillow is not installed.
    """
    if isinstance(value, np.ndarray):
        return value
    image = _opened(value) if isinstance(value, str) else value
    return np.asarray(image if image.mode in _AS_THEY_ARE else image.convert("RGB"))


def audio_bytes(value: Any) -> NDArray[Any] | bytes:
    """The samples of a clip, or of one that is a file, its bytes."""
    if isinstance(value, Mapping):
        return np.asarray(value["array"])
    return value if isinstance(value, bytes) else Path(value).read_bytes()


def _encoded(value: Any) -> Any:
    """Of what datasets gives undecoded, the bytes, or else the path; a path as a string."""
    if isinstance(value, Mapping) and "array" not in value:
        found = value.get("bytes")
        value = value.get("path") if found is None else found
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _array(value: Any) -> NDArray[Any] | None:
    """Numbers as an array; ``None`` for what is none."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except ValueError:  # lists of unequal length
        return None
    return array if array.dtype.kind in "uif" else None


def _opened(source: Any) -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Images are read with Pillow, which is not installed.",
            got="no package PIL",
            allowed="pillow 12",
            do='pip install "QEfficient[evaluate]"',
        ) from error
    try:
        with Image.open(source) as image:
            image.load()
            return image
    except (OSError, SyntaxError, Image.DecompressionBombError):  # no file, or one that holds no image
        return UNFIT
