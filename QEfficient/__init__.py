"""HuggingFace's Auto classes for Qualcomm Cloud AI 100, and for any host without one.

Importing this package does nothing but define names: each public name is loaded on first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from QEfficient.auto.base import QEFFTransformersBase
    from QEfficient.auto.later import (
        QEFFAutoModelForAudioClassification,
        QEFFAutoModelForCausalLM,
        QEFFAutoModelForCTC,
        QEFFAutoModelForImageClassification,
        QEFFAutoModelForImageTextToText,
        QEFFAutoModelForMaskedLM,
        QEFFAutoModelForMultipleChoice,
        QEFFAutoModelForQuestionAnswering,
        QEFFAutoModelForSequenceClassification,
        QEFFAutoModelForSpeechSeq2Seq,
        QEFFAutoModelForTokenClassification,
    )
    from QEfficient.auto.model import QEFFAutoModel
    from QEfficient.errors import QEfficientError
    from QEfficient.generation.cloud_infer import QAICInferenceSession

_LATER = (
    "QEFFAutoModelForAudioClassification",
    "QEFFAutoModelForCTC",
    "QEFFAutoModelForCausalLM",
    "QEFFAutoModelForImageClassification",
    "QEFFAutoModelForImageTextToText",
    "QEFFAutoModelForMaskedLM",
    "QEFFAutoModelForMultipleChoice",
    "QEFFAutoModelForQuestionAnswering",
    "QEFFAutoModelForSequenceClassification",
    "QEFFAutoModelForSpeechSeq2Seq",
    "QEFFAutoModelForTokenClassification",
)
_HOME = {
    "QEFFAutoModel": "QEfficient.auto.model",
    "QEFFTransformersBase": "QEfficient.auto.base",
    "QAICInferenceSession": "QEfficient.generation.cloud_infer",
    "QEfficientError": "QEfficient.errors",
    **dict.fromkeys(_LATER, "QEfficient.auto.later"),
}

__all__ = [
    "QAICInferenceSession",
    "QEFFAutoModel",
    "QEFFAutoModelForAudioClassification",
    "QEFFAutoModelForCTC",
    "QEFFAutoModelForCausalLM",
    "QEFFAutoModelForImageClassification",
    "QEFFAutoModelForImageTextToText",
    "QEFFAutoModelForMaskedLM",
    "QEFFAutoModelForMultipleChoice",
    "QEFFAutoModelForQuestionAnswering",
    "QEFFAutoModelForSequenceClassification",
    "QEFFAutoModelForSpeechSeq2Seq",
    "QEFFAutoModelForTokenClassification",
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
