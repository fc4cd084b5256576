"""HuggingFace's Auto classes for Qualcomm Cloud AI 100, and for any host without one.

Importing this package does nothing but define names: each public name is loaded on first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from QEfficient.auto.base import QEFFTransformersBase
    from QEfficient.auto.later import (
        QEFFAutoModelForCausalLM,
        QEFFAutoModelForImageTextToText,
        QEFFAutoModelForSpeechSeq2Seq,
    )
    from QEfficient.auto.model import QEFFAutoModel
    from QEfficient.errors import QEfficientError
    from QEfficient.generation.cloud_infer import QAICInferenceSession

_HOME = {
    "QEFFAutoModel": "QEfficient.auto.model",
    "QEFFAutoModelForCausalLM": "QEfficient.auto.later",
    "QEFFAutoModelForImageTextToText": "QEfficient.auto.later",
    "QEFFAutoModelForSpeechSeq2Seq": "QEfficient.auto.later",
    "QEFFTransformersBase": "QEfficient.auto.base",
    "QAICInferenceSession": "QEfficient.generation.cloud_infer",
    "QEfficientError": "QEfficient.errors",
}

__all__ = [
    "QAICInferenceSession",
    "QEFFAutoModel",
    "QEFFAutoModelForCausalLM",
    "QEFFAutoModelForImageTextToText",
    "QEFFAutoModelForSpeechSeq2Seq",
    "QEFFTransformersBase",
    "QEfficientError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("QEfficient")
        except PackageNotFoundError:  # a source tree that is not installed
            return "0+unknown"
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
