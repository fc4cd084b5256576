"""``QEFFAutoModelForSequenceClassification``: text classification, sentiment, regression and rerankers."""

from __future__ import annotations

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.auto.task import Task

TASK = Task("text-classification", "AutoModelForSequenceClassification")


class QEFFAutoModelForSequenceClassification(QEFFTransformersBase):
    """Texts, or pairs of texts → one row of scores.

    ``generate`` gives ``{"logits": (rows, labels)}`` without an activation, as HuggingFace does. Labels and the problem
    type stand in ``config``, also of a saved program.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = TASK
