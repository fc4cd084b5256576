"""What is timed of a model where several are compared: rows on their way from what the caller has to an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from QEfficient.evaluate.answers.runner import TextModel
from QEfficient.evaluate.comparison.speed import Run, Speed, measure_speeds
from QEfficient.evaluate.evaluation import answered
from QEfficient.evaluate.record import Examples

_UNITS: Mapping[str, str] = {
    "similarity": "pairs",
    "reranking": "queries",
    "question-answering": "questions",
    "multiple-choice": "questions",
    "image-classification": "images",
    "audio-classification": "clips",
    "automatic-speech-recognition": "clips",
}


def speeds(models: Sequence[TextModel], examples: Examples, seconds: float, seed: int) -> tuple[Speed, ...]:
    """Measures models on the rows that they were evaluated on, in turns.

    Args:
        models: What answers.
        examples: Rows. The task says what one of them is: a text, a question, a query with its documents. Where vectors
            of texts are compared, a row is a text and what is timed is its vector: a text that stands in many pairs, or
            a document, is embedded once.
        seconds: For each model, about.
        seed: Of the choice of rows.
    """
    if examples.task in ("similarity", "retrieval") and all(model.gives_vectors for model in models):
        texts = _texts(examples)
        runs = [_of_texts(model, texts) for model in models]
        return measure_speeds(runs, len(texts), seconds=seconds, seed=seed, unit="texts")
    unit = _UNITS.get(examples.task, "texts")
    runs = [_of_rows(model, examples) for model in models]
    return measure_speeds(runs, len(examples), seconds=seconds, seed=seed, unit=unit)


def _texts(examples: Examples) -> list[str]:
    """Every text, once."""
    columns = (examples.columns.get(role, ()) for role in ("text", "pair", "query"))
    return list(dict.fromkeys([text for column in (*columns, examples.corpus) for text in column]))


def _of_texts(model: TextModel, texts: Sequence[str]) -> Run:
    return lambda rows: model.outputs([texts[row] for row in rows])


def _of_rows(model: TextModel, examples: Examples) -> Run:
    def run(rows: Sequence[int]) -> object:
        columns = {role: [values[row] for row in rows] for role, values in examples.columns.items()}
        return answered(model, replace(examples, columns=columns, clusters=None))

    return run
