"""The Auto classes under the path at which the vendor's package has them."""

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

__all__ = [
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
]
