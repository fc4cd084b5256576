"""How good a model is: figures with intervals, and several models beside each other. Needs the extra ``evaluate``.

``model.evaluate(data)`` is the method of the Auto classes; :func:`evaluate` takes models of sentence-transformers too.
:mod:`QEfficient.evaluate.mteb` lets MTEB run compiled models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

if TYPE_CHECKING:
    from QEfficient.evaluate.comparison.record import ModelComparison
    from QEfficient.evaluate.result import Evaluation


def evaluate(
    model: Any,
    data: object,
    task: str | None = None,
    metrics: str | Sequence[str] | None = None,
    *,
    columns: Mapping[str, str | Sequence[str] | None] | None = None,
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
    from QEfficient.evaluate.answers.models import answering
    from QEfficient.evaluate.evaluation import evaluate_model

    return evaluate_model(answering(model), data, task, metrics, columns, seed=seed, resamples=resamples)


class Bootstrap(TypedDict, total=False):
    """``seed`` and ``resamples``, as :func:`evaluate` has them."""

    seed: int
    resamples: int


def compare(
    models: Sequence[Any] | Mapping[str, Any],
    data: object,
    task: str | None = None,
    metrics: str | Sequence[str] | None = None,
    *,
    columns: Mapping[str, str | Sequence[str] | None] | None = None,
    seconds: float | None = 2.0,
    **bootstrap: Unpack[Bootstrap],
) -> ModelComparison:
    """Several models on the same rows: which differences are more than chance, and what they cost.

    Each model answers as ``evaluate`` has it: a compiled one by its program, any other by its torch model. The others
    are compared with the first. Speed is measured afterwards, in turns, so that all models meet the same machine.

    Args:
        models: What :func:`evaluate` takes, one or more; or name → model, by which the table calls them.
        data: Rows, as :func:`evaluate` takes them.
        task: What is asked; left out, what the columns and the first model say.
        metrics: Their names; left out, those of the task.
        columns: Role → column.
        seconds: For how long each model's speed is measured, about; ``None`` leaves speed out.
        **bootstrap: ``seed`` and ``resamples`` of the intervals, as in :func:`evaluate`.

    Returns:
        One row a model; printing it shows a table, ``QEfficient.report.write_report`` writes it as a page.

    Raises:
        InputError: Rows that can't be evaluated.
        UsageError: A model or a task that is not known here, or ``models`` is one model and no list.
        OptionError: ``seconds`` is no length of time.
    """
    from QEfficient.evaluate.comparison.models import compare_models

    return compare_models(models, data, task, metrics, columns, seconds=seconds, sampling=_sampling(**bootstrap))


def _sampling(seed: int = 0, resamples: int = 1000) -> Mapping[str, int]:
    """What is left out has its default; any other keyword is none of ``compare``'s."""
    return {"seed": seed, "resamples": resamples}
