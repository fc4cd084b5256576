"""What callers call a model → what answers for it."""

from __future__ import annotations

from typing import Any

from QEfficient.errors import UsageError
from QEfficient.evaluate.answers import sentence_transformers
from QEfficient.evaluate.answers.runner import SubjectRunner, TextModel


def answering(model: Any) -> TextModel:
    """What answers for a model.

    Raises:
        UsageError: It is none that can be asked.
    """
    theirs = sentence_transformers.wrapped(model)
    if theirs is not None:
        return theirs
    if not hasattr(model, "_subject"):
        raise UsageError(
            "This is no model that can be evaluated.",
            got=type(model).__name__,
            allowed="an Auto object of QEfficient, a SentenceTransformer or a CrossEncoder",
            do="load a path with from_pretrained of its Auto class; wrap a torch model: QEFFAutoModel(model, …)",
        )
    return SubjectRunner(model._subject(), torch=False)
