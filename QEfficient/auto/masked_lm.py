"""``QEFFAutoModelForMaskedLM``: fill-mask."""

from __future__ import annotations

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.tasks.catalogue import FILL_MASK


class QEFFAutoModelForMaskedLM(QEFFTransformersBase):
    """Texts with a mask token → scores of every word at each token.

    ``generate`` gives ``{"logits": (rows, length, vocabulary)}``, exactly 0.0 beyond a row's last real token.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = FILL_MASK
