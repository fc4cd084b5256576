"""``QEFFAutoModelForQuestionAnswering``: extractive question answering."""

from __future__ import annotations

from QEfficient.auto.head_distilling import HeadDistilling
from QEfficient.tasks.catalogue import QUESTION_ANSWERING


class QEFFAutoModelForQuestionAnswering(HeadDistilling):
    """Questions with contexts → where the answer starts and ends.

    ``generate`` gives ``{"start_logits": (rows, length), "end_logits": (rows, length)}``, exactly 0.0 beyond a row's
    last real token.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = QUESTION_ANSWERING
