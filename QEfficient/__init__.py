"""HuggingFace's Auto classes for Qualcomm Cloud AI 100, and for any host without one.

Importing this package does nothing but define names: each public name is loaded on first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from QEfficient import analysis as analysis
    from QEfficient import evaluate as evaluate
    from QEfficient.auto.audio_classification import QEFFAutoModelForAudioClassification
    from QEfficient.auto.base import QEFFTransformersBase
    from QEfficient.auto.causal_lm import QEFFAutoModelForCausalLM
    from QEfficient.auto.ctc import QEFFAutoModelForCTC
    from QEfficient.auto.image_classification import QEFFAutoModelForImageClassification
    from QEfficient.auto.later import QEFFAutoModelForImageTextToText, QEFFAutoModelForSpeechSeq2Seq
    from QEfficient.auto.masked_lm import QEFFAutoModelForMaskedLM
    from QEfficient.auto.model import QEFFAutoModel
    from QEfficient.auto.multiple_choice import QEFFAutoModelForMultipleChoice
    from QEfficient.auto.question_answering import QEFFAutoModelForQuestionAnswering
    from QEfficient.auto.seq2seq_lm import QEFFAutoModelForSeq2SeqLM
    from QEfficient.auto.sequence_classification import QEFFAutoModelForSequenceClassification
    from QEfficient.auto.token_classification import QEFFAutoModelForTokenClassification
    from QEfficient.errors import QEfficientError
    from QEfficient.generation.cloud_infer import QAICInferenceSession
    from QEfficient.inference.quantization import quantize_embeddings
    from QEfficient.inference.quantized_embeddings import QuantizedEmbeddings

_HOME = {
    "QEFFAutoModel": "QEfficient.auto.model",
    "QEFFAutoModelForAudioClassification": "QEfficient.auto.audio_classification",
    "QEFFAutoModelForCTC": "QEfficient.auto.ctc",
    "QEFFAutoModelForCausalLM": "QEfficient.auto.causal_lm",
    "QEFFAutoModelForImageClassification": "QEfficient.auto.image_classification",
    "QEFFAutoModelForImageTextToText": "QEfficient.auto.later",
    "QEFFAutoModelForMaskedLM": "QEfficient.auto.masked_lm",
    "QEFFAutoModelForMultipleChoice": "QEfficient.auto.multiple_choice",
    "QEFFAutoModelForQuestionAnswering": "QEfficient.auto.question_answering",
    "QEFFAutoModelForSeq2SeqLM": "QEfficient.auto.seq2seq_lm",
    "QEFFAutoModelForSequenceClassification": "QEfficient.auto.sequence_classification",
    "QEFFAutoModelForSpeechSeq2Seq": "QEfficient.auto.later",
    "QEFFAutoModelForTokenClassification": "QEfficient.auto.token_classification",
    "QEFFTransformersBase": "QEfficient.auto.base",
    "QAICInferenceSession": "QEfficient.generation.cloud_infer",
    "QEfficientError": "QEfficient.errors",
    "QuantizedEmbeddings": "QEfficient.inference.quantized_embeddings",
    "quantize_embeddings": "QEfficient.inference.quantization",
}

_ROOMS = ("analysis", "evaluate")  # packages whose functions are public: QEfficient.analysis.predict(row)

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
    "QEFFAutoModelForSeq2SeqLM",
    "QEFFAutoModelForSequenceClassification",
    "QEFFAutoModelForSpeechSeq2Seq",
    "QEFFAutoModelForTokenClassification",
    "QEFFTransformersBase",
    "QEfficientError",
    "QuantizedEmbeddings",
    "__version__",
    "quantize_embeddings",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("QEfficient")
        except PackageNotFoundError:  # a source tree that is not installed
            return "0+unknown"
    if name in _ROOMS:
        return import_module(f"QEfficient.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
