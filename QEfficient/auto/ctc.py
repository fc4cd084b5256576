"""``QEFFAutoModelForCTC``: speech recognition without a decoder."""

from __future__ import annotations

from typing import Any

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.tasks.catalogue import SPEECH_RECOGNITION


class QEFFAutoModelForCTC(QEFFTransformersBase):
    """Clips → scores of every letter at each frame.

    ``generate`` takes ``input_values`` ``(rows, samples)``, or ``input_features`` ``(rows, frames, width)``, and gives
    ``{"logits": (rows, frames, vocabulary)}``, exactly 0.0 beyond a row's last frame.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = SPEECH_RECOGNITION

    def _model_output(self, tensors: dict[str, Any]) -> Any:
        """Beyond a row's last frame the blank wins: decoders take the best letter of every frame, and read no mask."""
        logits, blank = tensors["logits"], self.get_model_config.get("pad_token_id")
        if blank is not None:
            logits[(logits == 0).all(dim=-1), int(blank)] = 1.0
        return super()._model_output(tensors)
