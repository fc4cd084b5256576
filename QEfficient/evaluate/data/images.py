"""Images: what a row may hold, and its pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError, MissingExtraError
from QEfficient.evaluate.data.cells import UNFIT, Cells, encoded, number_array, plain, read_each

_AS_THEY_ARE = ("L", "RGB", "RGBA")  # modes of PIL whose array says everything


def read_images(cells: Cells) -> list[Any]:
    """A PIL image, an array or a path a row.

    Raises:
        InputError: A row holds none, or a path at which there is none.
        MissingExtraError: Images come as bytes or as paths, and Pillow is not installed.
    """

    def read(value: Any) -> Any:
        value = encoded(plain(value))
        if isinstance(value, bytes):
            return _opened(io.BytesIO(value))
        if isinstance(value, str):
            return UNFIT if _opened(value) is UNFIT else value
        if hasattr(value, "getbands"):  # a PIL image
            return value
        array = number_array(value)
        return array if array is not None and array.ndim in (2, 3) and array.size else UNFIT

    allowed = 'a PIL image, an array of 2 or 3 dims, the path of a file that is there, or {"bytes": …, "path": …}'
    return read_each(cells, read, "is no image", allowed, "pass one of these a row")


def image_array(value: Any) -> NDArray[Any]:
    """The pixels of an image, whatever it is held as: ``(height, width)`` or ``(height, width, channels)``.

    Raises:
        InputError: A file that was there is gone.
        MissingExtraError: It is a path, and Pillow is not installed.
    """
    if isinstance(value, np.ndarray):
        return value
    image = _known(value)
    return np.asarray(image if image.mode in _AS_THEY_ARE else image.convert("RGB"))


def rgb_image(value: Any) -> Any:
    """What an image processor reads: a PIL image in RGB, turned as its camera says, as HuggingFace's pipelines do it.

    Arrays of three dims are given as they are.

    Raises:
        InputError: A file that was there is gone.
    """
    if isinstance(value, np.ndarray) and value.ndim == 3:
        return value
    from PIL import Image, ImageOps  # it was there when the image was read

    image = Image.fromarray(value) if isinstance(value, np.ndarray) else _known(value)
    return ImageOps.exif_transpose(image).convert("RGB")


def _known(value: Any) -> Any:
    """A PIL image, of one that is a path too."""
    image = _opened(value) if isinstance(value, str) else value
    if image is UNFIT:
        raise InputError(
            "An image can't be read any more.",
            got=value,
            allowed="a file that stays where it is until the images are run",
            do="check the file, and read the data again",
        )
    return image


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
