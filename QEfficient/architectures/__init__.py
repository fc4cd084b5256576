"""Facts about each HuggingFace ``model_type``, one small file each, found by name. No torch at import."""

from __future__ import annotations

import importlib
import importlib.util
import re

from QEfficient.architectures.record import Architecture, any_positions

__all__ = ["Architecture", "find"]


def find(model_type: str) -> Architecture:
    """The facts about a model type: those of its file, else a cautious default for types that have none.

    Args:
        model_type: As in ``config.json``: ``"xlm-roberta"`` is found in ``xlm_roberta.py``.
    """
    name = model_type.replace("-", "_").lower()
    path = f"{__name__}.{name}"
    # A config is foreign text: only a plain name may become a module's path.
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name) or name == "record" or importlib.util.find_spec(path) is None:
        return Architecture(model_type=model_type, limit=any_positions)
    found: Architecture = importlib.import_module(path).ARCHITECTURE
    return found
