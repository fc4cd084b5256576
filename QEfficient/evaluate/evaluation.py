"""``evaluate``: data → examples → what a model answers → its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from QEfficient.cache import library_versions
from QEfficient.errors import UsageError
from QEfficient.evaluate.answers import signals as signal_answers
from QEfficient.evaluate.answers import texts as text_answers
from QEfficient.evaluate.answers import tokens as token_answers
from QEfficient.evaluate.answers.runner import SubjectRunner, TextModel
from QEfficient.evaluate.data import read_examples, text_pairs
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.intervals import metric_values
from QEfficient.evaluate.record import Examples, Outcome
from QEfficient.evaluate.result import Evaluation

Answer: TypeAlias = Callable[[Any, Examples], Outcome]
"""A model and examples → what it answers."""

OF_TEXTS: Mapping[str, Answer] = {
    "similarity": lambda model, examples: text_answers.similarity(model, examples, text_pairs(examples)),
    "retrieval": text_answers.retrieval,
    "reranking": text_answers.reranking,
    "text-classification": text_answers.classification,
    "multi-label": text_answers.multi_label,
    "regression": text_answers.regression,
}
"""Tasks that any model of texts can be asked, sentence-transformers' among them."""
OF_ONE_CLASS: Mapping[str, Answer] = {
    "token-classification": token_answers.token_classification,
    "question-answering": token_answers.question_answering,
    "fill-mask": token_answers.fill_mask,
    "multiple-choice": signal_answers.multiple_choice,
    "image-classification": signal_answers.image_classification,
    "audio-classification": signal_answers.audio_classification,
    "automatic-speech-recognition": signal_answers.speech_recognition,
}
"""Tasks that only the Auto class of the same name answers."""


def evaluate_model(
    model: TextModel,
    data: object,
    task: str | None,
    metrics: str | Sequence[str] | None,
    columns: Mapping[str, str] | None,
    *,
    seed: int,
    resamples: int,
) -> Evaluation:
    """Reads the data, asks the model, and measures what it answers; the arguments are those of ``evaluate``."""
    examples = read_examples(data, task, columns, model_task=model.task)
    names = [metrics] if isinstance(metrics, str) else metrics
    return evaluate_examples(model, examples, names, seed=seed, resamples=resamples)


def evaluate_examples(
    model: TextModel, examples: Examples, metrics: Sequence[str] | None, *, seed: int, resamples: int
) -> Evaluation:
    """Asks the model, and measures what it answers."""
    wanted = metrics_of(examples.task, metrics)  # a wrong name is refused before the model runs
    outcome = answered(model, examples)
    return Evaluation(
        model=model.name,
        ran=model.ran,
        task=examples.task,
        metrics=metric_values(outcome, wanted, seed=seed, resamples=resamples),
        outcome=outcome,
        rows=len(examples),
        digest=examples.digest,
        data=examples.name,
        seed=seed,
        resamples=resamples,
        versions=library_versions(),
    )


def answered(model: TextModel, examples: Examples) -> Outcome:
    """What a model answers to examples.

    Raises:
        UsageError: It is no model for their task.
    """
    if examples.task in OF_TEXTS:
        return OF_TEXTS[examples.task](model, examples)
    if not isinstance(model, SubjectRunner) or model.task != examples.task:
        raise UsageError(
            "The model is not of this task's class.",
            got=f"task={examples.task!r} for {model.name!r}, a model of {model.task}",
            allowed=f"a model of {examples.task}, or one of {', '.join(OF_TEXTS)}",
            do="load the model with the Auto class of the task",
        )
    return OF_ONE_CLASS[examples.task](model, examples)
