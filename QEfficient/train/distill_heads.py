"""Distills a model with a head: a student learns to give the logits that its teacher gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError, UsageError, unknown
from QEfficient.evaluate.record import Examples
from QEfficient.export.isolated import isolated
from QEfficient.train.adjust import adjusted
from QEfficient.train.distill_losses import head_terms
from QEfficient.train.distill_request import DistillRequest
from QEfficient.train.distill_texts import TASK, pairs_of, read_rows
from QEfficient.train.features import HeadReader, collator
from QEfficient.train.fingerprint import reading
from QEfficient.train.folder import RunFolder, run_folder
from QEfficient.train.labelled import Feature
from QEfficient.train.labels import Labels
from QEfficient.train.layers import Layers
from QEfficient.train.order import in_order
from QEfficient.train.record import Course, Trained, TrainedOn, name_of
from QEfficient.train.request import refuse
from QEfficient.train.rows import check_rows
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
from QEfficient.train.teacher import ModelWithTokenizer, asked, kept, student_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TASKS = ("text-classification", "multi-label", "regression", "token-classification", TASK)
"""What the rows may be for; of the last one there are texts only."""

_PER_TOKEN = "token-classification"


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
    divergence; of several labels, each by itself; the number of a model with one output, by its squared error. Where
    rows have labels, these count too (``alpha``). The teacher's logits are computed once, and kept in the run's folder.

    Args:
        teacher: A model for sequence or token classification.
        student: How many of the teacher's layers it begins with, or which; or a model of its own with as many labels,
            which is trained in place, with a tokenizer that reads for it.
        rows: Texts, or rows of one of :data:`TASKS`, or of reranking: queries with each of their documents, without
            grades.
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
    small, layers = student_of(teacher, student)
    _check_labels(teacher, small)
    request = dataclasses.replace(request, teacher=tensors_digest(teacher.module), layers=layers)
    readers = _reader(teacher, train, request), _reader(small, train, request)
    parts = ((train, "training"), (others, "held-out"))
    sets = [None if part is None else _read(readers, part, where) for part, where in parts]
    of_teacher, of_student = (reading(one.tokenizer, one.max_length, one.lower_case) for one in readers)
    read = {**of_student, "teacher": of_teacher}
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
    config: Any = student.module.config
    config.id2label = dict(enumerate(theirs))
    config.label2id = {name: number for number, name in enumerate(theirs)}
    config.problem_type = getattr(teacher.module.config, "problem_type", None)


def _names(model: ModelWithTokenizer) -> list[str]:
    config: Any = model.module.config
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def _reader(model: ModelWithTokenizer, train: Examples, request: DistillRequest) -> HeadReader:
    limit = int(model.tokenizer.model_max_length) if model.text is None else model.text.max_length
    labels = Labels(tuple(_names(model))) if train.task not in ("regression", TASK) else None
    lower = bool(model.text and model.text.lower_case)
    return HeadReader(model.tokenizer, min(request.max_length or limit, limit), labels, lower)


def _read(readers: tuple[HeadReader, HeadReader], examples: Examples, where: str) -> _Rows:
    """Rows as each model reads them. Where there are logits a token, both must read the same tokens."""
    found = []
    for reader in readers:
        if examples.task == TASK:
            found.append(reader.texts(examples.columns))
        else:
            found.append(reader.features(examples, where))
    teachers, students = found
    if examples.task == _PER_TOKEN:
        odd = [row for row, pair in enumerate(zip(*found, strict=True)) if pair[0]["input_ids"] != pair[1]["input_ids"]]
        if odd:
            raise InputError(
                "The student reads other tokens than its teacher, so their answers a token can't be compared.",
                got=f"row {odd[0]} of the {where} rows",
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
    rows, others = (None if part is None else _with_logits(teacher, part, request, folder) for part in sets)
    lengths = [len(row["input_ids"]) for row in rows or ()]
    terms = head_terms(small.module.config, request, _is_per_token(teacher))

    class Distiller(in_order(with_whole_checkpoints(Trainer), lengths, request)):  # type: ignore[misc]
        """A trainer whose loss compares with the teacher's logits, which stand in the batch."""

        def compute_loss(
            self, model: Any, inputs: Feature, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            theirs, labels = inputs["teacher"], inputs.get("labels")
            outputs = model(**{name: value for name, value in inputs.items() if name not in ("teacher", "labels")})
            loss = terms(outputs.logits, theirs, labels, inputs["attention_mask"])
            return (loss, outputs) if return_outputs else loss

    arguments = training_arguments(request, folder, others is not None)
    arguments |= {"remove_unused_columns": False, "label_names": ["teacher"], "prediction_loss_only": True}
    with own_seeds(request.seed), adjusted(small.module, request):
        trainer = Distiller(
            model=small.module,
            args=TrainingArguments(**arguments),
            train_dataset=rows,
            eval_dataset=others,
            data_collator=_collator(small.tokenizer, _is_per_token(teacher)),
            callbacks=callbacks(request),
        )
        return run(trainer, request, folder, score)


def _is_per_token(teacher: ModelWithTokenizer) -> bool:
    return type(teacher.module).__name__.endswith("ForTokenClassification")


def _with_logits(teacher: ModelWithTokenizer, rows: _Rows, request: DistillRequest, folder: RunFolder) -> list[Feature]:
    """The student's features with what the teacher says to each: ``(labels,)``, or ``(tokens, labels)``."""
    import numpy as np

    per_token = _is_per_token(teacher)
    lengths = [len(row["input_ids"]) for row in rows.teachers]
    flat = kept(
        folder.path,
        {"run": folder.key, "rows": rows.digest},
        lambda: _logits(teacher, rows.teachers, per_token, request.batch_size),
    )
    if not per_token:
        return [row | {"teacher": logits} for row, logits in zip(rows.students, flat, strict=True)]
    parts = np.split(flat, np.cumsum(lengths)[:-1])
    return [row | {"teacher": logits} for row, logits in zip(rows.students, parts, strict=True)]


def _logits(teacher: ModelWithTokenizer, rows: list[Feature], per_token: bool, batch_size: int) -> NDArray[np.float32]:
    """All logits of the teacher, those of one row or token after the other, ``(rows or tokens, labels)``."""
    import numpy as np
    import torch

    module = teacher.module
    found: list[Any] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    with asked(module):
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            inputs = [{name: rows[row][name] for name in rows[row] if name != "labels"} for row in places]
            batch = teacher.tokenizer.pad(inputs, return_tensors="pt")
            logits = module(**batch.to(next(module.parameters()).device)).logits.float().cpu()
            for place, row in enumerate(places):
                real = batch["attention_mask"][place].cpu().to(torch.bool)
                found[row] = (logits[place][real] if per_token else logits[place][None]).numpy()
    return np.concatenate(found)


def _collator(tokenizer: Any, per_token: bool) -> Callable[[Sequence[Feature]], Feature]:
    """As a training's, with the teacher's logits, which are filled up as the tokens are."""
    import numpy as np
    import torch

    labelled = collator(tokenizer, per_token)

    def collate(features: Sequence[Feature]) -> Feature:
        rest = [{name: value for name, value in feature.items() if name != "teacher"} for feature in features]
        batch = labelled(rest) if "labels" in rest[0] else dict(tokenizer.pad(rest, return_tensors="pt"))
        logits = [np.asarray(feature["teacher"]) for feature in features]
        if per_token:
            longest = batch["input_ids"].shape[1]
            left = tokenizer.padding_side == "left"
            logits = [
                np.pad(row, ((longest - len(row), 0) if left else (0, longest - len(row)), (0, 0))) for row in logits
            ]
        batch["teacher"] = torch.from_numpy(np.stack(logits))
        return batch

    return collate
