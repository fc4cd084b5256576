"""``QEFFAutoModelForCTC``: speech recognition without a decoder."""

from __future__ import annotations

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.auto.task import Task

TASK = Task(
    "automatic-speech-recognition",
    "AutoModelForCTC",
    model_output="CausalLMOutput",
    per_token=True,
)


class QEFFAutoModelForCTC(QEFFTransformersBase):
    """Clips → scores of every letter at each frame.

    ``generate`` takes ``input_values`` ``(rows, samples)`` and gives ``{"logits": (rows, frames, vocabulary)}``,
    exactly 0.0 beyond a row's last frame.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = TASK
