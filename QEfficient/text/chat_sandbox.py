"""Where chat templates run: Jinja's sandbox, with what transformers 5.24 gives templates and nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jinja2 import Template


@lru_cache(maxsize=32)
def compiled(text: str) -> Template:
    """A template, ready to be rendered.

    A template comes from a repo, so it is not trusted: it sees copies of plain values, calls no method that changes
    one, and reaches no attribute that begins with an underscore.

    Raises:
        jinja2.TemplateSyntaxError: It is no template.
    """
    from jinja2 import nodes
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class GenerationBlock(Extension):
        """``{% generation %}``: marks what the model wrote, which matters to training only."""

        tags = {"generation"}

        def parse(self, parser: Any) -> nodes.Node:
            """A block with a scope of its own."""
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("written"), [], [], body).set_lineno(line)

        def written(self, caller: Any) -> Any:
            """What stands in the block."""
            return caller()

    class TemplateNamespace(Namespace):
        """``namespace``, without names that begin with an underscore."""

        def __init__(*args: Any, **values: Any) -> None:
            self, rest = args[0], args[1:]
            found = dict(*rest, **values)
            for name in found:
                _checked(name)
            Namespace.__init__(self, found)

        def __setitem__(self, name: str, value: Any) -> None:
            _checked(name)
            super().__setitem__(name, value)

    def _checked(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"Chat templates cannot store underscore-prefixed attributes on a namespace: {name!r}.")

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    sandbox.filters["tojson"] = _to_json
    sandbox.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": _strftime_now,
        "dict": _Dict(),
        "namespace": TemplateNamespace,
    }
    return sandbox.from_string(text)


class _Dict:
    """``dict`` as a function; the class itself would show templates more of Python than they need."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **values)


def _to_json(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as it is; Jinja's own filter escapes it for HTML."""
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def as_dicts(value: Any) -> Any:
    """Messages as people have them, dataclasses and pydantic models with them, as dicts and lists."""
    if isinstance(value, Mapping):
        return {key: as_dicts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_dicts(item) for item in value]
    if isinstance(value, tuple):
        return tuple(as_dicts(item) for item in value)
    fields = _fields(value)
    return value if fields is None else as_dicts(fields)


def plain(value: Any) -> Any:
    """A copy of plain JSON values; what has no such form becomes its type's name, as ``<ndarray>``."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):  # of a subclass, such as an enum's member, the value alone
        if isinstance(value, kind):
            return getattr(kind, f"__{kind.__name__}__")(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, np.generic):
        return plain(value.item())
    fields = _fields(value)
    return f"<{type(value).__name__}>" if fields is None else plain(fields)


def _fields(value: Any) -> Any:
    """Names and values of a dataclass or a pydantic model; ``None`` for anything else."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) else None
