"""What a model costs and how it fits a card: parameters, FLOPs, bytes, memory, roofline, lint, predicted speed.

``predict`` and ``recommend`` are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from QEfficient.analysis.predictor import predict
    from QEfficient.analysis.recommendation import recommend

_HOME = {"predict": "QEfficient.analysis.predictor", "recommend": "QEfficient.analysis.recommendation"}

__all__ = ["predict", "recommend"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
