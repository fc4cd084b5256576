"""``evaluate``: data → examples → what a model answers → its figures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from QEfficient.cache import library_versions
from QEfficient.errors import OptionError, UsageError
from QEfficient.evaluate.answers import signals, texts, tokens
from QEfficient.evaluate.answers.runner import SubjectRunner, TextModel
from QEfficient.evaluate.data import read_examples, text_pairs
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.intervals import metric_values
from QEfficient.evaluate.metrics.metric import Metric
from QEfficient.evaluate.record import Examples, Outcome
from QEfficient.evaluate.result import Evaluation

Columns: TypeAlias = Mapping[str, str | Sequence[str] | None]
"""Role → its column, or columns; ``None`` for a role that is not to be used."""
Answer: TypeAlias = Callable[[Any, Examples], Outcome]
"""A model and examples → what it answers."""

OF_TEXTS: Mapping[str, Answer] = {
    "similarity": lambda model, examples: texts.similarity(model, examples, text_pairs(examples)),
    "retrieval": texts.retrieval,
    "reranking": texts.reranking,
    "text-classification": texts.classification,
    "multi-label": texts.multi_label,
    "regression": texts.regression,
}
"""Tasks that any model of texts can be asked, sentence-transformers' among them."""
OF_ONE_CLASS: Mapping[str, Answer] = {
    "token-classification": tokens.token_classification,
    "question-answering": tokens.question_answering,
    "fill-mask": tokens.fill_mask,
    "multiple-choice": texts.multiple_choice,
    "image-classification": signals.image_classification,
    "audio-classification": signals.audio_classification,
    "automatic-speech-recognition": signals.speech_recognition,
}
"""Tasks that only the Auto class of the same name answers."""


def evaluate_model(
    model: TextModel,
    data: object,
    task: str | None,
    metrics: str | Sequence[str] | None,
    columns: Columns | None,
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
    if examples.task == "retrieval":
        _check_depth(wanted)
    before = _shortened(model)
    outcome = answered(model, examples)
    if count := _shortened(model) - before:
        warnings.warn(
            f"{count} texts were longer than {model.name!r} takes and were shortened, as encode and predict do.",
            stacklevel=4,
        )
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


def _shortened(model: TextModel) -> int:
    return model.shortened if isinstance(model, SubjectRunner) else 0


def _check_depth(metrics: Sequence[Metric]) -> None:
    """Refuses metrics that look further down a ranking than it is kept."""
    for one in metrics:
        depth = one.name.partition("@")[2]
        if depth and int(depth) > texts.DEPTH:
            raise OptionError(
                "A ranking is not kept so far down.",
                got=one.name,
                allowed=f"up to {texts.DEPTH} documents of a query, as trec_eval",
                do=f"ask for {one.name.partition('@')[0]}@{texts.DEPTH}",
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
