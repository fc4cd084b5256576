"""A Python function → the JSON schema that a chat template shows the model, as transformers' ``get_json_schema``."""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, Union

from QEfficient.errors import InputError

_SCALARS: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
_CONTAINERS: dict[Any, str] = {list: "array", tuple: "array", dict: "object"}
# Named, because neither package is imported here.
_MEDIA = {"PIL.Image.Image": "image", "torch.Tensor": "audio"}
_SECTIONS = re.compile("Args:|Returns:|Raises:")
_HEAD = re.compile(r"([ \t]*)(\w+)(?:[ \t]*\([^()\n]*\))?:")
_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)


def tool_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Name, description and parameters of a function, from its type hints and its Google docstring.

    ``(choices: ["a", "b"])`` at the end of a parameter's description lists the values that it may have.

    Raises:
        InputError: It has no docstring, or a parameter has no description, no type hint or one that JSON has no word
            for.
    """
    name = getattr(function, "__name__", "operation")
    doc = (inspect.getdoc(function) or "").strip()
    if not doc:
        raise _refused(name, "it has no docstring")
    described = _described(doc)
    properties, required, returned = _hinted(function, name)
    for parameter, schema in properties.items():
        if parameter not in described:
            raise _refused(name, f"its docstring does not describe the parameter {parameter!r}")
        text = described[parameter]
        if choices := _CHOICES.search(text):
            schema["enum"] = [one.strip() if isinstance(one, str) else one for one in _listed(choices[1], name)]
            text = text[: choices.start()].strip()
        schema["description"] = text
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    schema = {"name": name, "description": _SECTIONS.split(doc, 1)[0].strip(), "parameters": parameters}
    if returned is not None:
        about = _section(doc, "Returns", "Raises:")
        schema["return"] = returned if about is None else returned | {"description": about.strip()}
    return {"type": "function", "function": schema}


def _hinted(function: Callable[..., Any], name: str) -> tuple[dict[str, Any], list[str], dict[str, Any] | None]:
    """Schema of each parameter, the names of those without a default, and the schema of what is returned."""
    parameters = dict(inspect.signature(function).parameters)
    first = next(iter(parameters), None)
    if first in ("self", "cls") and parameters[first].annotation is inspect.Parameter.empty:
        del parameters[first]
    for one in parameters.values():
        if one.annotation is inspect.Parameter.empty:
            raise _refused(name, f"the parameter {one.name!r} has no type hint")
    hints = typing.get_type_hints(function)
    returned = None
    if "return" in hints:
        try:
            returned = _schema(hints.pop("return"), name)
        except InputError:  # the model never writes what the function returns
            hints.pop("return", None)
    properties = {parameter: _schema(hint, name) for parameter, hint in hints.items()}
    required = [one.name for one in parameters.values() if one.default is inspect.Parameter.empty]
    return properties, required, returned


def _schema(hint: Any, name: str) -> dict[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        return _plain(hint, name)
    if origin is Union or origin is types.UnionType:
        return _union(args, name)
    if origin is Literal:
        return _values(list(args), name)
    if origin is list:
        return {"type": "array", "items": _schema(args[0], name)} if args else {"type": "array"}
    if origin is tuple and len(args) != 1 and ... not in args:
        return {"type": "array", "prefixItems": [_schema(one, name) for one in args]} if args else {"type": "array"}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], name)} if args else {"type": "object"}
    raise _refused(name, f"JSON schema has no word for the type hint {hint!r}")


def _plain(hint: Any, name: str) -> dict[str, Any]:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _values([member.value for member in hint], name)
    if hint is Any:
        return {}
    found = _SCALARS.get(hint) or _CONTAINERS.get(hint)
    if found is None and isinstance(hint, type):
        found = _MEDIA.get(f"{hint.__module__}.{hint.__qualname__}")
    if found is None:
        raise _refused(name, f"JSON schema has no word for the type hint {hint!r}")
    return {"type": found}


def _union(args: tuple[Any, ...], name: str) -> dict[str, Any]:
    members = [_schema(one, name) for one in args if one is not type(None)]
    if len(members) == 1:
        found = members[0]
    elif all(one.keys() == {"type"} and isinstance(one["type"], str) for one in members):
        names = sorted({one["type"] for one in members})
        found = {"type": names[0] if len(names) == 1 else names}
    else:
        found = {"anyOf": members}
    return found | {"nullable": True} if type(None) in args else found


def _values(values: list[Any], name: str) -> dict[str, Any]:
    """One of these; each type once, in the order in which they come."""
    if not values or any(type(value) not in _SCALARS for value in values):
        raise _refused(name, f"JSON schema can't list the values {values!r}")
    kinds = list(dict.fromkeys(_SCALARS[type(value)] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}


def _described(doc: str) -> dict[str, str]:
    """The description of each parameter in the section ``Args``."""
    section = _section(doc, "Args", "Returns:|Raises:")
    found: dict[str, str] = {}
    name, indent = "", ""
    for line in (section or "").split("\n"):
        head = _HEAD.match(line)
        deeper = line.startswith((indent + " ", indent + "\t"))
        if head and (not name or (found[name].strip() and not deeper)):
            indent, name = head[1], head[2]
            found[name] = line[head.end() :]
        elif name and line.strip():
            found[name] += "\n" + line
    return {name: re.sub(r"\s*\n+\s*", " ", text.strip()) for name, text in found.items()}


def _section(doc: str, title: str, until: str) -> str | None:
    """The text of a section; ``None`` where there is none."""
    start = re.search(rf"\n\s*{title}:\n", doc)
    return None if start is None else re.split(until, doc[start.end() :], maxsplit=1)[0].rstrip()


def _listed(text: str, name: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise _refused(name, f"its choices are no JSON: {text}") from error
    return found if isinstance(found, list) else [found]


def _refused(name: str, why: str) -> InputError:
    return InputError(
        f"The function {name!r} can't be shown to the model: {why}.",
        got=name,
        allowed="functions with type hints and a Google docstring that describes each parameter",
        do="add what is missing, or pass the tool's JSON schema as a dict",
    )
