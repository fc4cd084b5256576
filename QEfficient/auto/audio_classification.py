"""``QEFFAutoModelForAudioClassification``: audio classification."""

from __future__ import annotations

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.tasks.catalogue import AUDIO_CLASSIFICATION


class QEFFAutoModelForAudioClassification(QEFFTransformersBase):
    """Clips → one row of scores.

    ``generate`` takes ``input_values`` ``(rows, samples)``, or ``input_features`` ``(rows, frames, width)``, and gives
    ``{"logits": (rows, labels)}``.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = AUDIO_CLASSIFICATION
