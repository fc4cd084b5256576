"""The Auto classes under the path at which the vendor's package has them."""

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.auto.later import (
    QEFFAutoModelForCausalLM,
    QEFFAutoModelForImageTextToText,
    QEFFAutoModelForSpeechSeq2Seq,
)
from QEfficient.auto.model import QEFFAutoModel

__all__ = [
    "QEFFAutoModel",
    "QEFFAutoModelForCausalLM",
    "QEFFAutoModelForImageTextToText",
    "QEFFAutoModelForSpeechSeq2Seq",
    "QEFFTransformersBase",
]
