"""``QEFFAutoModelForImageClassification``: image classification."""

from __future__ import annotations

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.tasks.task import Task

TASK = Task(
    "image-classification",
    "AutoModelForImageClassification",
    model_output="ImageClassifierOutput",
)


class QEFFAutoModelForImageClassification(QEFFTransformersBase):
    """Images → one row of scores.

    ``generate`` takes ``pixel_values`` ``(rows, channels, height, width)`` and gives ``{"logits": (rows, labels)}``.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = TASK
