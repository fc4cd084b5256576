"""``QEFFAutoModelForImageClassification``: image classification."""

from __future__ import annotations

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.tasks.catalogue import IMAGE_CLASSIFICATION


class QEFFAutoModelForImageClassification(QEFFTransformersBase):
    """Images → one row of scores.

    ``generate`` takes ``pixel_values`` ``(rows, channels, height, width)`` and gives ``{"logits": (rows, labels)}``.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = IMAGE_CLASSIFICATION
