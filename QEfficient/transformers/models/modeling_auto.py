"""The Auto classes under the path at which the vendor's package has them."""

from QEfficient.auto.audio_classification import QEFFAutoModelForAudioClassification
from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.auto.ctc import QEFFAutoModelForCTC
from QEfficient.auto.image_classification import QEFFAutoModelForImageClassification
from QEfficient.auto.later import (
    QEFFAutoModelForCausalLM,
    QEFFAutoModelForImageTextToText,
    QEFFAutoModelForSpeechSeq2Seq,
)
from QEfficient.auto.masked_lm import QEFFAutoModelForMaskedLM
from QEfficient.auto.model import QEFFAutoModel
from QEfficient.auto.multiple_choice import QEFFAutoModelForMultipleChoice
from QEfficient.auto.question_answering import QEFFAutoModelForQuestionAnswering
from QEfficient.auto.sequence_classification import QEFFAutoModelForSequenceClassification
from QEfficient.auto.token_classification import QEFFAutoModelForTokenClassification

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
