"""Images: what a row may hold, and its pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError, MissingExtraError
from QEfficient.evaluate.data.cells import UNFIT, Cells, encoded, number_array, plain, read_each

_AS_THEY_ARE = ("L", "RGB", "RGBA")  # modes of PIL whose array says everything
_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
_ARRAYS = (
    "an array of floats from 0 to 1 or of whole numbers from 0 to 255, whose shape is (height, width), "
    "(height, width, channels) or (channels, height, width) with 1, 3 or 4 channels"
)
_DO = "pass one of these a row, as it is before any processor"


def read_images(cells: Cells) -> list[Any]:
    """A PIL image, an array or a path a row; arrays as whole numbers from 0 to 255, with the channels last.

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
        found = None if array is None else _pixels(array)
        return UNFIT if found is None else found

    allowed = f'a PIL image, {_ARRAYS}, the path of a file that is there, or {{"bytes": …, "path": …}}'
    return read_each(cells, read, "is no image", allowed, _DO)


def image_array(value: Any) -> NDArray[Any]:
    """The pixels of an image: ``(height, width)`` or ``(height, width, channels)``.

    Args:
        value: As :func:`read_images` gives it.

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

    Of an array, floats from 0 to 1 become 0 to 255, and one channel becomes three; transparency is dropped.

    Args:
        value: A PIL image, an array or a path, as :func:`read_images` takes them.

    Raises:
        InputError: A file that was there is gone, or an array is no image.
    """
    from PIL import ImageOps  # it was there when the image was read

    image = _drawn(value) if isinstance(value, np.ndarray) else _known(value)
    return ImageOps.exif_transpose(image).convert("RGB")


def _drawn(array: NDArray[Any]) -> Any:
    from PIL import Image

    pixels = _pixels(array)
    if pixels is None:
        raise InputError("An array is no image.", got=f"{array.dtype} of shape {array.shape}", allowed=_ARRAYS, do=_DO)
    return Image.fromarray(pixels)


def _pixels(array: NDArray[Any]) -> NDArray[np.uint8] | None:
    """An array as ``(height, width)`` or ``(height, width, 3 or 4)``; ``None`` for one that can't be told for an image.

    Channels stand last, or first where the last dim can be none. Of three rows of one, three or four columns nobody can
    tell, and nobody takes such pictures.
    """
    if array.ndim not in (2, 3) or not array.size:
        return None
    if array.ndim == 3:
        first, last = array.shape[0] in _CHANNELS, array.shape[2] in _CHANNELS
        if not (first or last) or (last and array.shape[0] == 3):
            return None
        array = array if last else np.moveaxis(array, 0, 2)
        array = array[:, :, 0] if array.shape[2] == 1 else array
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 255):  # NaN is neither
        return None
    if array.dtype.kind == "f":
        if high <= 1:
            array = array * 255.0
        elif (array != np.round(array)).any():
            return None
    return np.ascontiguousarray(np.round(array), np.uint8)


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
