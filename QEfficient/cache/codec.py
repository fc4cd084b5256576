"""Records ⇄ JSON, strictly: what is read has exactly a dataclass's fields and types, or an error names the field."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from QEfficient.errors import ManifestError, UsageError
from QEfficient.records import Json

T = TypeVar("T")
_SCALARS = (str, bool, int, float)
_PLAIN = frozenset((str, bool, int, type(None)))
"""Types whose values are JSON as they are. Most of a manifest is: a call for each would take longer than the rest."""


def to_json(value: object, *, paths: bool = True, where: str = "value") -> Json:
    """A record, or anything built of mappings, sequences and scalars, as plain JSON values.

    Args:
        value: Dataclasses become objects, tuples become lists.
        paths: Whether a ``Path`` may become a string.
        where: Name of the value in error messages.

    Raises:
        UsageError: A value that JSON can't hold exactly: another type, a key that is no string, NaN or Inf.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise _not_json(f"{where} (a key)", bad[0])
        return {
            str(key): item if type(item) in _PLAIN else to_json(item, paths=paths, where=f"{where}.{key}")
            for key, item in value.items()
        }
    if isinstance(value, (tuple, list)):
        return [
            item if type(item) in _PLAIN else to_json(item, paths=paths, where=f"{where}[{i}]")
            for i, item in enumerate(value)
        ]
    if isinstance(value, Path) and paths:
        return str(value)
    if value is None or (isinstance(value, _SCALARS) and not (isinstance(value, float) and not math.isfinite(value))):
        return value
    raise _not_json(where, value)


def _not_json(where: str, value: object) -> UsageError:
    return UsageError(
        f"{where} can't be written as JSON.",
        got=f"{value!r} ({type(value).__name__})",
        allowed="records, mappings with string keys, sequences, strings, booleans, integers, finite floats, None",
        do="convert it first; for a file, use its digest",
    )


def json_like(value: object) -> bool:
    """Whether a value is JSON, tuples apart: then it tells all of itself to a key, or to another process."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return True
    if isinstance(value, (list, tuple)):
        return all(json_like(item) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and json_like(item) for key, item in value.items())
    return False


def canonical_json(value: object) -> str:
    """The one text of a value: sorted keys, no spaces, ASCII. Equal values have equal texts and the other way round.

    Paths are refused: the text makes cache keys, and a key holds a file's content, never its name.

    Raises:
        UsageError: See :func:`to_json`.
    """
    return json.dumps(to_json(value, paths=False), sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(kind: type[T], value: Json, where: str = "", *, given: Mapping[str, object] | None = None) -> T:
    """Parses plain JSON values into the dataclass ``kind``. No field is converted, guessed or left to a default.

    Args:
        kind: A dataclass of scalars, ``X | None``, ``tuple[X, ...]``, ``Mapping[str, X]``, paths and dataclasses.
        value: As ``json.loads`` gives it.
        where: Dotted name of the value in error messages.
        given: Fields of ``kind`` that are known already; ``value`` must not have them.

    Raises:
        ManifestError: A field is missing, unknown or of another type; its dotted name is in the message.
    """
    return cast(T, _parse_record(kind, value, where, given or {}))


def _parse(kind: Any, value: Json, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _parse_union(args, value, where)
    if origin is tuple:
        _expect(isinstance(value, list), "a list", value, where)
        kind = args[0]
        return tuple(
            item if type(item) is kind and kind in _PLAIN else _parse(kind, item, f"{where}[{i}]")
            for i, item in enumerate(value)
        )
    if origin is not None:
        _expect(isinstance(value, dict), "an object", value, where)
        kind = args[1]
        return {
            name: item if type(item) is kind and kind in _PLAIN else _parse(kind, item, _join(where, name))
            for name, item in value.items()
        }
    if is_dataclass(kind):
        return _parse_record(kind, value, where, {})
    if kind is Path:
        _expect(isinstance(value, str), "a path as text", value, where)
        return Path(value)
    _expect(type(value) is kind, f"a value of type {kind.__name__}", value, where)
    return value


def _parse_union(options: tuple[Any, ...], value: Json, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    rest = [option for option in options if option is not type(None)]
    if len(rest) == 1:
        return _parse(rest[0], value, where)
    names = " or ".join(option.__name__ for option in rest)
    _expect(type(value) in rest, f"a value of type {names}", value, where)
    return value


def _parse_record(kind: Any, value: Json, where: str, given: Mapping[str, object]) -> Any:
    _expect(isinstance(value, dict), "an object", value, where)
    hints = {name: hint for name, hint in _hints(kind).items() if name not in given} if given else _hints(kind)
    for name in value:
        if name not in hints:
            raise bad_manifest("has a field that is not known", _join(where, name), f"the fields {', '.join(hints)}")
    for name in hints:
        if name not in value:
            raise bad_manifest("lacks a field", _join(where, name), "every field of the format")
    return kind(
        **{
            name: value[name]
            if type(value[name]) is hint and hint in _PLAIN
            else _parse(hint, value[name], _join(where, name))
            for name, hint in hints.items()
        },
        **given,
    )


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _expect(ok: bool, allowed: str, value: Json, where: str) -> None:
    if not ok:
        raise bad_manifest("has a field of the wrong type", f"{where or 'the whole'} = {value!r:.80}", allowed)


def bad_manifest(what: str, got: str, allowed: str) -> ManifestError:
    """The error of a manifest that can't be what was written."""
    do = "don't edit it; compile the model again, or copy it anew"
    return ManifestError(f"The manifest {what}.", got=got, allowed=allowed, do=do)
