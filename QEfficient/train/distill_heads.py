"""Distills a model with a head: a student learns to give the logits that its teacher gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from QEfficient.compress.pruning.depth import Layers
from QEfficient.errors import InputError, UsageError, unknown
from QEfficient.evaluate.record import Examples
from QEfficient.export.isolated import isolated
from QEfficient.train.adjust import adjusted
from QEfficient.train.distill_losses import ends_terms, head_terms
from QEfficient.train.distill_request import DistillRequest
from QEfficient.train.distill_texts import TASK, pairs_of, read_rows
from QEfficient.train.features import HeadReader
from QEfficient.train.fingerprint import reading
from QEfficient.train.folder import RunFolder, run_folder
from QEfficient.train.labelled import Feature
from QEfficient.train.labels import Labels
from QEfficient.train.order import in_order
from QEfficient.train.record import Course, Trained, TrainedOn, name_of
from QEfficient.train.request import refuse
from QEfficient.train.rows import check_rows, row_limit
from QEfficient.train.run import (
    Score,
    callbacks,
    interruptible,
    needs,
    own_seeds,
    run,
    training_arguments,
    with_whole_checkpoints,
)
from QEfficient.train.teacher import ModelWithTokenizer, student_of
from QEfficient.train.teacher_logits import (
    ANSWERS,
    LOGITS_PER_TOKEN,
    TAGS,
    logits_collator,
    logits_of,
    logits_per_token,
    with_logits,
)

TASKS = ("text-classification", "multi-label", "regression", TAGS, ANSWERS, TASK)
"""What the rows may be for; of the last one there are texts only."""


def distill_head(
    teacher: ModelWithTokenizer,
    student: ModelWithTokenizer | Layers,
    rows: Examples | Sequence[str],
    held_out: Examples | Sequence[str] | None = None,
    request: DistillRequest | None = None,
    *,
    score: Score | None = None,
) -> Trained:
    """Trains a smaller model to give the teacher's logits, which stays as it is.

    What the loss compares is told by the teacher's config: probabilities of one label a row, by their Kullback-Leibler
    divergence; of several labels, each by itself; the number of a model with one output, by its squared error; of
    answers, the probabilities of their first and of their last token, in each window of a context that is too long.
    Where rows have labels, these count too (``alpha``). The teacher's logits are computed once, and kept in the run's
    folder.

    Args:
        teacher: A model for sequence or token classification, or question answering.
        student: How many of the teacher's layers it begins with, or which; or a model of its own with as many labels,
            which is trained in place, with a tokenizer that reads for it.
        rows: Texts, or rows of one of :data:`TASKS`, or of reranking: queries with each of their documents, without
            grades. Those of question answering may have no column of answers.
        held_out: Others of the same task, on which the loss is measured before and after, and for early stopping.
        request: How to distill.
        score: Asked about the student before and after.

    Returns:
        The student and how it came to be. It has the names of the teacher's labels.

    Raises:
        MissingExtraError: The extra ``train`` is not installed.
        InputError: There are no rows, a label is none of the teacher's, or the student has other labels or words.
            Nothing was trained.
        OptionError: The teacher has no such layers.
        UsageError: The rows are for another task, or the teacher's layers can't be cut.
        KeyboardInterrupt: With a note of the last checkpoint.
    """
    from QEfficient.source.identity import tensors_digest

    request = request or DistillRequest()
    needs("accelerate", "datasets")
    refuse(request, "a model with a head", "weights", "prompts")
    train, others = _rows(rows), None if held_out is None else _rows(held_out)
    if train.task not in TASKS:
        raise unknown(UsageError, f"No head is distilled for {train.task!r}.", train.task, TASKS, argument="task")
    check_rows(train, others, request)
    _check_task(teacher, train)
    small, layers = student_of(teacher, student)
    _check_labels(teacher, small)
    request = dataclasses.replace(request, teacher=tensors_digest(teacher.module), layers=layers)
    names = _names(teacher)
    readers = _reader(teacher, train, request, names), _reader(small, train, request, names)
    parts = ((train, "training"), (others, "held-out"))
    sets = [None if part is None else _read(readers, part, where) for part, where in parts]
    of_teacher, of_student = (reading(one.tokenizer, one.max_length, one.lower_case) for one in readers)
    read = {**of_student, "teacher": of_teacher}
    _name_labels(small, names, getattr(teacher.module.config, "problem_type", None))
    folder = run_folder(request, small.module, read, train, others)
    work = partial(_distill, (teacher, small), sets, request, folder, score)
    course = interruptible(work, folder)
    on, name = TrainedOn.of(train, others), name_of(teacher.module)
    return Trained(small.module.eval(), None, small.tokenizer, name, on, request, course, folder.path)


def _rows(data: Examples | Sequence[str]) -> Examples:
    if not isinstance(data, Examples):
        return read_rows(data)
    return pairs_of(data) if data.task == "reranking" else data


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows as both models read them, of which the student's are trained on."""

    digest: str
    teachers: list[Feature]
    students: list[Feature]


def _check_task(teacher: ModelWithTokenizer, train: Examples) -> None:
    answers = logits_per_token(teacher) == ANSWERS
    if answers != (train.task == ANSWERS):
        raise UsageError(
            "Questions with contexts are what a model for question answering is distilled on, and no other model.",
            got=f"rows for {train.task!r} and a {type(teacher.module).__name__}",
            allowed="rows for question-answering and a model for it, or neither",
            do="pass other rows, or another teacher",
        )


def _check_labels(teacher: ModelWithTokenizer, student: ModelWithTokenizer) -> None:
    theirs, own = (_names(one) for one in (teacher, student))
    if len(theirs) != len(own):
        raise InputError(
            "The student has another number of labels than its teacher.",
            got=f"{len(own)} labels for a teacher with {len(theirs)}",
            allowed=f"{len(theirs)} labels",
            do=f"load the student with num_labels={len(theirs)}",
        )
    given = [name for name in own if not name.startswith("LABEL_")]
    if given and own != theirs:
        raise InputError(
            "The student's labels are others than its teacher's.",
            got=", ".join(own[:20]),
            allowed=f"{', '.join(theirs[:20])}, in this order; or no names",
            do="pass a student with the same labels",
        )


def _name_labels(student: ModelWithTokenizer, names: Sequence[str], problem: str | None) -> None:
    """Says in the student's config what its outputs are, once nothing more can be refused."""
    config: Any = student.module.config
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    config.problem_type = problem


def _names(model: ModelWithTokenizer) -> list[str]:
    config: Any = model.module.config
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def _reader(model: ModelWithTokenizer, train: Examples, request: DistillRequest, names: Sequence[str]) -> HeadReader:
    limit = row_limit(model.module, model.tokenizer, model.text, request.max_length)
    labels = Labels(tuple(names)) if train.task not in ("regression", ANSWERS, TASK) else None
    lower = bool(model.text and model.text.lower_case)
    return HeadReader(model.tokenizer, limit, labels, lower)


def _read(readers: tuple[HeadReader, HeadReader], examples: Examples, where: str) -> _Rows:
    """Rows as each model reads them. Where there are logits a token, both must read the same tokens."""
    found = []
    for reader in readers:
        if examples.task == TASK:
            found.append(reader.texts(examples.columns))
        elif examples.task == ANSWERS and "answers" not in examples.columns:
            none = {**examples.columns, "answers": [()] * len(examples)}
            windows = reader.features(dataclasses.replace(examples, columns=none), where)
            found.append([{name: one[name] for name in one if name != "labels"} for one in windows])
        else:
            found.append(reader.features(examples, where))
    teachers, students = found
    if examples.task in LOGITS_PER_TOKEN:
        read = [[one["input_ids"] for one in features] for features in found]
        odd = [row for row, (theirs, own) in enumerate(zip_longest(*read)) if theirs != own]
        if odd:
            raise InputError(
                "The student reads other tokens than its teacher, so their answers a token can't be compared.",
                got=f"{'row' if examples.task == TAGS else 'window'} {odd[0]} of the {where} rows",
                allowed="a student with the teacher's tokenizer, and its limit",
                do="pass such a student, or max_length=… that fits both",
            )
    return _Rows(examples.digest, teachers, students)


@isolated
def _distill(
    models: tuple[ModelWithTokenizer, ModelWithTokenizer],
    sets: Sequence[_Rows | None],
    request: DistillRequest,
    folder: RunFolder,
    score: Score | None,
) -> Course:
    """Trains the student's module in place."""
    from transformers import Trainer, TrainingArguments

    teacher, small = models
    rows, others = (
        None if part is None else with_logits(teacher, (part.teachers, part.students), part.digest, request, folder)
        for part in sets
    )
    lengths = [len(row["input_ids"]) for row in rows or ()]
    kind = logits_per_token(teacher)
    terms = ends_terms(request) if kind == ANSWERS else head_terms(small.module.config, request, kind == TAGS)

    class Distiller(in_order(with_whole_checkpoints(Trainer), lengths, request)):  # type: ignore[misc]
        """A trainer whose loss compares with the teacher's logits, which stand in the batch."""

        def compute_loss(
            self, model: Any, inputs: Feature, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            theirs, labels = inputs["teacher"], inputs.get("labels")
            outputs = model(**{name: value for name, value in inputs.items() if name not in ("teacher", "labels")})
            loss = terms(logits_of(outputs), theirs, labels, inputs["attention_mask"])
            return (loss, outputs) if return_outputs else loss

    arguments = training_arguments(request, folder, others is not None)
    arguments |= {"remove_unused_columns": False, "label_names": ["teacher"], "prediction_loss_only": True}
    with own_seeds(request.seed), adjusted(small.module, request):
        trainer = Distiller(
            model=small.module,
            args=TrainingArguments(**arguments),
            train_dataset=rows,
            eval_dataset=others,
            data_collator=logits_collator(small.tokenizer, kind),
            callbacks=callbacks(request),
        )
        return run(trainer, request, folder, score)
