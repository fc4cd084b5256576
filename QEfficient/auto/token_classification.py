"""``QEFFAutoModelForTokenClassification``: named entities and other labels for each token."""

from __future__ import annotations

from QEfficient.auto.head_distilling import HeadDistilling
from QEfficient.tasks.catalogue import TOKEN_CLASSIFICATION


class QEFFAutoModelForTokenClassification(HeadDistilling):
    """Texts → scores for each token.

    ``generate`` gives ``{"logits": (rows, length, labels)}``, exactly 0.0 beyond a row's last real token.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = TOKEN_CLASSIFICATION
