"""The digest of a data set: equal for equal rows in the same order, whatever they came in."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from QEfficient.evaluate.data.images import image_array
from QEfficient.evaluate.data.sound import load_clip

_FORM = b"QEfficient examples 1"


def digest_of(columns: Mapping[str, Sequence[Any]], corpus: Sequence[str] = (), label_names: Sequence[str] = ()) -> str:
    """SHA-256 of the values of all roles, in hex.

    Every value is written with its type and its length before it, so that no two data sets are written alike. Images
    count by their pixels, clips by their samples.

    Args:
        columns: Role → values. The order of the roles does not count.
        corpus: The documents of retrieval.
        label_names: What whole numbers among the labels stand for. Names that are the numbers themselves say nothing,
            and don't count.
    """
    digest = hashlib.sha256(_FORM)
    for role in sorted(columns):
        values: Iterable[Any] = columns[role]
        if role == "image":
            values = map(image_array, values)
        elif role == "audio":
            values = (load_clip(clip)[0] for clip in values)
        _feed(digest, b"c", role.encode())
        _feed(digest, b"n", str(len(columns[role])).encode())
        for value in values:
            for tag, content in _encoded(value):
                _feed(digest, tag, content)
    _feed(digest, b"d", str(len(corpus)).encode())
    for document in corpus:
        _feed(digest, b"s", _utf8(document))
    if any(name != str(place) for place, name in enumerate(label_names)):
        _feed(digest, b"t", str(len(label_names)).encode())
        for name in label_names:
            _feed(digest, b"s", _utf8(name))
    return digest.hexdigest()


def _feed(digest: Any, tag: bytes, content: bytes) -> None:
    digest.update(tag + len(content).to_bytes(8, "big"))
    digest.update(content)


def _encoded(value: Any) -> Iterator[tuple[bytes, bytes]]:
    """A value as tags and contents; the tag says its type."""
    if isinstance(value, str):
        yield b"s", _utf8(value)
    elif isinstance(value, int):
        yield b"i", str(value).encode()
    elif isinstance(value, float):
        yield b"f", struct.pack(">d", value + 0.0)  # of two zeros one
    elif isinstance(value, bytes):
        yield b"b", value
    elif isinstance(value, np.ndarray):
        yield b"a", f"{value.dtype.newbyteorder('<').str} {value.shape}".encode()
        yield b"b", np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
    elif isinstance(value, Mapping):
        yield b"m", str(len(value)).encode()
        for key in sorted(value):
            yield from _encoded(key)
            yield from _encoded(value[key])
    else:
        yield b"l", str(len(value)).encode()
        for item in value:
            yield from _encoded(item)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
