"""How good a model is: figures with intervals, and several models beside each other. Needs the extra ``evaluate``.

``model.evaluate(data)`` is the method of the Auto classes; :func:`evaluate` takes models of sentence-transformers too.
:mod:`QEfficient.evaluate.mteb` lets MTEB run compiled models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.errors import UsageError

if TYPE_CHECKING:
    from QEfficient.evaluate.result import Evaluation


def evaluate(
    model: Any,
    data: object,
    task: str | None = None,
    metrics: str | Sequence[str] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """How good a model's answers are; the arguments are those of ``QEFFAutoModel.evaluate``.

    Args:
        model: An Auto object, compiled or not, or a ``SentenceTransformer`` or ``CrossEncoder``.
        data: Rows.
        task: What is asked.
        metrics: Their names.
        columns: Role → column.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Returns:
        Figures with 95 % intervals, and every row's answer.

    Raises:
        InputError: Rows that can't be evaluated.
        UsageError: A model or a task that is not known here.
    """
    from QEfficient.evaluate import sentence_transformers
    from QEfficient.evaluate.evaluation import evaluate_model

    theirs = sentence_transformers.wrapped(model)
    if theirs is not None:
        return evaluate_model(theirs, data, task, metrics, columns, seed=seed, resamples=resamples)
    if not hasattr(model, "evaluate"):
        raise UsageError(
            "This is no model that can be evaluated.",
            got=type(model).__name__,
            allowed="an Auto object of QEfficient, a SentenceTransformer or a CrossEncoder",
            do="wrap a torch model: QEFFAutoModel(model, pooling=…), or QEFFAutoModelForSequenceClassification(model)",
        )
    found: Evaluation = model.evaluate(data, task, metrics, columns=columns, seed=seed, resamples=resamples)
    return found
