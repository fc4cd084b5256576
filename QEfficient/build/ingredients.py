"""A record as ingredients of a key: a file by its content, a backend by name and version."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from QEfficient.backends.base import Backend
from QEfficient.cache import file_digest, to_json
from QEfficient.records import Json, OnnxModel

NOT_IN_KEY: Mapping[tuple[type, str], str] = {
    (OnnxModel, "path"): "the digest stands for the file, wherever it is",
    (OnnxModel, "files"): "the digest of the graph covers them",
}
"""Fields of what a request holds that are not part of the key, and why."""

_SCALARS = (str, bool, int)


def content(value: Any, left_out: Mapping[tuple[type, str], str] = NOT_IN_KEY, where: str = "the request") -> Json:
    """A value as an ingredient: a file by its content, a backend by name and version, a record by its fields.

    Args:
        value: The value.
        left_out: Record and field → why it is not part of the key.
        where: What an error calls it.
    """
    if isinstance(value, Path):
        return file_digest(value)
    if isinstance(value, Backend):
        return {"name": value.name, "version": value.version()}
    if dataclasses.is_dataclass(value):
        names = [each.name for each in dataclasses.fields(value) if (type(value), each.name) not in left_out]
        value = {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        return {
            name: item if not item or isinstance(item, _SCALARS) else content(item, left_out, f"{where}.{name}")
            for name, item in value.items()
        }
    if isinstance(value, tuple | list):
        return [item if not item or isinstance(item, _SCALARS) else content(item, left_out, where) for item in value]
    return to_json(value, where=where)
