"""Facts about each HuggingFace ``model_type``, found by name: in the table or in a small file. No torch at import."""

from __future__ import annotations

import importlib
import importlib.util
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from QEfficient.architectures.record import Architecture, Reach, any_positions

if TYPE_CHECKING:
    from QEfficient.architectures.table import Likeness

__all__ = ["Architecture", "Reach", "find", "writers"]


@cache
def _lines() -> dict[str, tuple[str, Likeness]]:
    from QEfficient.architectures.table import TABLE  # a hundred lines, of which the start of a program needs none

    return {model_type.replace("-", "_"): (model_type, line) for model_type, line in TABLE.items()}


@lru_cache(maxsize=256)
def find(model_type: str) -> Architecture:
    """The facts about a model type: those of the table or of its file, else a cautious default for types in neither.

    Args:
        model_type: As in ``config.json``: ``"big-bird"`` is found in ``big_bird.py``.
    """
    name = model_type.replace("-", "_").lower()
    if name in _lines():
        model_type, line = _lines()[name]
        base = find(line.base) if isinstance(line.base, str) else Architecture(name, line.base)
        return line.over(base, model_type)
    path = f"{__name__}.{name}"
    # A config is foreign text: only a plain name may become a module's path.
    known = re.fullmatch(r"[a-z0-9][a-z0-9_]*", name) and name not in ("caches", "record", "table")
    if not known or importlib.util.find_spec(path) is None:
        return Architecture(model_type=model_type, limit=any_positions)
    found: Architecture = importlib.import_module(path).ARCHITECTURE
    return found


def writers() -> tuple[str, ...]:
    """The model types that are known to write text, by name."""
    return tuple(sorted(name for name, line in _lines().values() if "caches" in line.facts))
