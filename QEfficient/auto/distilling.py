"""Distilling of an Auto object: a smaller model that learned from it, as a new object.

The student is written into a folder, as an ordinary repo, and read from there as ``from_pretrained`` does it. The
teacher keeps its weights and its program.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.auto.processors import own_tokenizer
from QEfficient.auto.training import check_score, like, own_module, sentence_steps, whole_module, written
from QEfficient.errors import UsageError
from QEfficient.evaluate.record import Examples
from QEfficient.tasks.catalogue import FEATURE_EXTRACTION, QUESTION_ANSWERING
from QEfficient.train.alone import one_at_a_time

if TYPE_CHECKING:
    from QEfficient.compress.pruning.depth import Layers
    from QEfficient.train.distill_request import DistillRequest
    from QEfficient.train.record import Trained
    from QEfficient.train.run import Score
    from QEfficient.train.teacher import ModelWithTokenizer

log = logging.getLogger("QEfficient")

Model = TypeVar("Model", bound=QEFFTransformersBase)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a student is and what it learns from.

    Attributes:
        student: A model of the teacher's kind: an Auto object, a module, or what ``from_pretrained`` takes.
        layers: The teacher's layers to begin with, in place of a student.
        data: Texts, or rows of them.
        held_out: Others, or ``None``.
        task: Of models with a head: what the rows are for, where their labels are to count too.
        columns: Role → column.
        tokenizer: HuggingFace's, of a teacher in memory.
        student_tokenizer: Of a student in memory that does not read as its teacher does.
        score: As the room ``train`` takes it; ``None``: the metrics of the held-out rows, where they have answers.
    """

    student: object
    layers: Layers | None
    data: object
    held_out: object
    task: str | None
    columns: Mapping[str, str | Sequence[str] | None] | None
    tokenizer: Any
    student_tokenizer: Any
    score: Callable[[Any], float] | None


@one_at_a_time()
def distill(model: Model, lesson: Lesson, keywords: Mapping[str, Any]) -> Model:
    """Trains a student, and gives it as an object of the teacher's class.

    Args:
        model: The teacher.
        lesson: What the student is and learns from.
        keywords: How to distill.
    """
    from QEfficient.train.distill_request import parse_distill_request
    from QEfficient.train.teacher import ModelWithTokenizer

    check_score(lesson.score)
    request = parse_distill_request(keywords)
    if (lesson.student is None) == (lesson.layers is None):
        raise UsageError(
            "It has to be said what the student is: a model, or layers of the teacher.",
            got="neither student nor layers" if lesson.student is None else "both",
            allowed="one of them",
            do="pass layers=3, or student=… with a smaller model",
        )
    origin = model._need_origin("distill")
    data = _rows(model, lesson, lesson.data)
    held_out = None if lesson.held_out is None else _rows(model, lesson, lesson.held_out)
    reader = own_tokenizer(origin, lesson.tokenizer)
    teacher = ModelWithTokenizer(whole_module(origin), reader, model._text())
    student = lesson.layers if lesson.layers is not None else _student(model, lesson, teacher)
    score = lesson.score or _held_out_score(model, teacher, student, lesson.held_out, held_out)
    trained = _trained(model, teacher, student, (data, held_out), request, score)
    trained = dataclasses.replace(trained, name=origin.name)
    log.info("distilled: %s", trained)
    remote_code = type(trained.module).__module__.startswith("transformers_modules.")
    student_origin = written(trained, model._task.auto_class, f"{origin.name} (distilled)", remote_code)
    return like(model, student_origin)


def _rows(model: QEFFTransformersBase, lesson: Lesson, data: object) -> Examples:
    """The rows, checked before anything is loaded."""
    from QEfficient.evaluate.data import read_examples
    from QEfficient.train.distill_texts import read_questions, read_rows, read_texts

    if model._task is FEATURE_EXTRACTION:
        return read_texts(data, lesson.columns)
    if isinstance(data, Examples):
        return data
    if lesson.task is None:
        return (read_questions if model._task is QUESTION_ANSWERING else read_rows)(data, lesson.columns)
    return read_examples(data, lesson.task, lesson.columns)


def _student(model: QEFFTransformersBase, lesson: Lesson, teacher: ModelWithTokenizer) -> ModelWithTokenizer:
    """A student of the caller's: a copy of its module, and what reads for it."""
    from QEfficient.train.teacher import ModelWithTokenizer

    own = _as_object(type(model), lesson.student)
    origin = own._need_origin("a student")
    module, text = own_module(origin), own._text()
    if lesson.student_tokenizer is None and origin.folder is None:
        text = dataclasses.replace(text, lower_case=bool(teacher.text and teacher.text.lower_case))
        return ModelWithTokenizer(module, teacher.tokenizer, text)
    return ModelWithTokenizer(module, own_tokenizer(origin, lesson.student_tokenizer), text)


def _as_object(kind: type[Model], given: object) -> Model:
    if isinstance(given, kind):
        return given
    if isinstance(given, (str, Path)):
        return kind.from_pretrained(given)
    if hasattr(given, "named_modules") and hasattr(given, "config"):
        module: Any = given
        return kind(module)
    raise UsageError(
        "This can't be a student.",
        got=type(given).__name__,
        allowed=f"a {kind.__name__}, a module of transformers, a hub id or the path of a folder",
        do="pass one of these, or layers=…",
    )


def _held_out_score(
    model: QEFFTransformersBase,
    teacher: ModelWithTokenizer,
    student: ModelWithTokenizer | Layers,
    given: object,
    held_out: Examples | None,
) -> Score | None:
    """What asks the student about the held-out rows. What vectors are compared with stands in rows read for a task."""
    from QEfficient.train.scores import held_out_score
    from QEfficient.train.teacher import ModelWithTokenizer

    rows = given if isinstance(given, Examples) else held_out
    reads = student if isinstance(student, ModelWithTokenizer) else teacher
    text, vectors = reads.text, model._task is FEATURE_EXTRACTION
    if vectors and text is not None and teacher.text is not None:  # it reads no further than its teacher
        text = dataclasses.replace(text, max_length=min(text.max_length, teacher.text.max_length))
    return held_out_score(rows, reads.tokenizer, text, vectors=vectors)


def _trained(
    model: QEFFTransformersBase,
    teacher: ModelWithTokenizer,
    student: ModelWithTokenizer | Layers,
    rows: tuple[Examples, Examples | None],
    request: DistillRequest,
    score: Score | None,
) -> Trained:
    from QEfficient.train.distill import distill_embeddings
    from QEfficient.train.distill_heads import distill_head
    from QEfficient.train.sentence_model import SentenceHead

    if model._task is not FEATURE_EXTRACTION:
        return distill_head(teacher, student, *rows, request, score=score)
    repo = model._need_origin("distill").repo
    head = SentenceHead(sentence_steps(model, teacher.module), repo.folder if repo else None, teacher.text)
    return distill_embeddings(teacher, head, student, *rows, request, score=score)
