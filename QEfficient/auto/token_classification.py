"""``QEFFAutoModelForTokenClassification``: named entities and other labels for each token."""

from __future__ import annotations

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.tasks.task import Task

TASK = Task(
    "token-classification",
    "AutoModelForTokenClassification",
    model_output="TokenClassifierOutput",
    per_token=True,
)


class QEFFAutoModelForTokenClassification(QEFFTransformersBase):
    """Texts → scores for each token.

    ``generate`` gives ``{"logits": (rows, length, labels)}``, exactly 0.0 beyond a row's last real token.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = TASK
