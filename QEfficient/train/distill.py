"""Distills an embedding model: a student learns to give the vectors that its teacher gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from QEfficient.cache import content_key
from QEfficient.compress.pruning.depth import Layers
from QEfficient.errors import InputError, OptionError
from QEfficient.evaluate.record import Examples
from QEfficient.export.isolated import isolated
from QEfficient.train.adjust import adjusted
from QEfficient.train.distill_losses import vector_loss
from QEfficient.train.distill_request import DistillRequest
from QEfficient.train.distill_texts import read_texts
from QEfficient.train.fingerprint import sentence_reading
from QEfficient.train.folder import RunFolder, run_folder
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
    sentence_arguments,
    training_arguments,
    with_whole_checkpoints,
)
from QEfficient.train.sentence_model import SentenceHead, sentence_transformer
from QEfficient.train.teacher import ModelWithTokenizer, asked, kept, student_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def distill_embeddings(
    teacher: ModelWithTokenizer,
    head: SentenceHead,
    student: ModelWithTokenizer | Layers,
    texts: Examples | Sequence[str],
    held_out: Examples | Sequence[str] | None = None,
    request: DistillRequest | None = None,
    *,
    score: Score | None = None,
) -> Trained:
    """Trains a smaller model to give the teacher's vectors, which stays as it is.

    The student has the teacher's steps behind it. Where its own vectors are of another width, a linear layer behind the
    pooling brings them to the teacher's; it is trained with the student and stays a part of it, so that the vectors of
    both can be compared. The teacher's vectors are computed once, and kept in the run's folder.

    Args:
        teacher: The model to learn from.
        head: What stands behind it.
        student: How many of the teacher's layers it begins with, or which; or a model of its own, which is trained in
            place, with a tokenizer that reads for it.
        texts: What both are asked about: strings, or rows that were read for a task.
        held_out: Others, on which the loss is measured before and after, and for early stopping.
        request: How to distill.
        score: Asked about the student's ``SentenceTransformer`` before and after.

    Returns:
        The student, in a ``SentenceTransformer``, and how it came to be.

    Raises:
        MissingExtraError: The extra ``train`` is not installed.
        InputError: There are no texts, or the student's table of words is too small. Nothing was trained.
        OptionError: The teacher has no such layers, or a keyword does not fit.
        UsageError: The teacher's layers can't be cut.
        PoolingError: The teacher has no pooling, or one that can't be trained.
        KeyboardInterrupt: With a note of the last checkpoint.
    """
    from QEfficient.source.identity import tensors_digest

    request = request or DistillRequest()
    needs("accelerate", "datasets", "sentence_transformers")
    refuse(request, "an embedding model", "temperature", "alpha")
    if request.prompts is not None and not isinstance(request.prompts, str):
        raise OptionError(
            "Distilling has one kind of texts.",
            got=f"prompts={dict(request.prompts)!r}",
            allowed="one string",
            do="pass the string that stands before every text",
        )
    train, others = read_texts(texts), None if held_out is None else read_texts(held_out)
    check_rows(train, others, request)
    small, layers = student_of(teacher, student)
    master = _whole_vectors(teacher, head)
    told = {"tensors": tensors_digest(master), "steps": [dict(step) for step in head.steps]}
    request = dataclasses.replace(request, teacher=content_key(told), layers=layers)
    with own_seeds(request.seed):
        model = _student(small, dataclasses.replace(head, text=_facts(teacher, small)), master)
    read = sentence_reading(model, bool(small.text and small.text.lower_case))
    of_teacher = sentence_reading(master, bool(teacher.text and teacher.text.lower_case))
    folder = run_folder(request, model, {**read, "teacher": of_teacher}, train, others)
    work = partial(_distill, (model, master), (train, others), request, folder, score)
    with _limited((model, master), request.max_length):
        course = interruptible(work, folder)
    on, name = TrainedOn.of(train, others), name_of(teacher.module)
    return Trained(model[0].model.eval(), model, small.tokenizer, name, on, request, course, folder.path)


def _whole_vectors(teacher: ModelWithTokenizer, head: SentenceHead) -> Any:
    """The teacher's ``SentenceTransformer``, which gives all dims."""
    text = None if teacher.text is None else dataclasses.replace(teacher.text, truncate_dim=None)
    return sentence_transformer(teacher.module, teacher.tokenizer, dataclasses.replace(head, text=text))


def _facts(teacher: ModelWithTokenizer, student: ModelWithTokenizer) -> Any:
    """Prompts and similarity are the teacher's; limit and case are the student's own."""
    if teacher.text is None or student.text is None:
        return student.text
    own = student.text
    limit = min(own.max_length, teacher.text.max_length)
    return dataclasses.replace(teacher.text, max_length=limit, lower_case=own.lower_case)


def _student(small: ModelWithTokenizer, head: SentenceHead, master: Any) -> Any:
    """The student's ``SentenceTransformer``, with a projection behind the pooling where the widths differ."""
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Pooling
    from torch import nn

    model = sentence_transformer(small.module, small.tokenizer, head)
    places = [place for place, part in enumerate(model) if isinstance(part, Pooling)]
    own, theirs = (one[places[0]].pooling_output_dimension for one in (model, master))
    if own == theirs:
        return model
    if places[0] != 1:
        raise InputError(
            "The vectors of tokens are changed before they are pooled, and the student's are of another width.",
            got=f"{own} numbers beside {theirs}",
            allowed="a student of the teacher's width, or a teacher that pools first",
            do="pass another student",
        )
    model.insert(places[0] + 1, Dense(own, theirs, activation_function=nn.Identity()))
    return model


@contextmanager
def _limited(models: tuple[Any, Any], limit: int | None) -> Iterator[None]:
    """While it is entered both read so many tokens at most; each has its own limit again afterwards."""
    before = [model.max_seq_length for model in models]
    try:
        for model, own in zip(models, before, strict=True):
            if limit is not None:  # a model may have none of its own
                model.max_seq_length = min(limit, own or limit)
        yield
    finally:
        if limit is not None:
            for model, own in zip(models, before, strict=True):
                model.max_seq_length = own


@isolated
def _distill(
    models: tuple[Any, Any],
    rows: tuple[Examples, Examples | None],
    request: DistillRequest,
    folder: RunFolder,
    score: Score | None,
) -> Course:
    """Trains the student's ``SentenceTransformer`` in place."""
    from datasets import Dataset
    from sentence_transformers.sentence_transformer import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    from QEfficient.train.order import by_length

    model, master = models
    train, others = rows
    prompt = str(model.prompts.get(model.default_prompt_name, "") if request.prompts is None else request.prompts)
    texts = [*train.columns["text"], *([] if others is None else others.columns["text"])]
    vectors = _vectors(master, texts, prompt, request, folder)
    arguments = training_arguments(request, folder, others is not None)
    arguments |= {
        "batch_sampler": by_length if request.group_by_length else BatchSamplers.BATCH_SAMPLER,
        "prompts": prompt or None,
    }
    ids = list(range(len(texts)))
    sets = [
        Dataset.from_dict({"text": texts[first:last], "label": ids[first:last]})
        for first, last in ((0, len(train)), (len(train), len(texts)))
    ]
    with own_seeds(request.seed), adjusted(model[0].model, request):
        trainer = with_whole_checkpoints(SentenceTransformerTrainer)(
            model=model,
            args=sentence_arguments(SentenceTransformerTrainingArguments, arguments, len(train)),
            train_dataset=sets[0],
            eval_dataset=None if others is None else sets[1],
            loss=vector_loss(model, vectors, request.weights),
            callbacks=callbacks(request),
        )
        return run(trainer, request, folder, score)


def _vectors(
    master: Any, texts: list[str], prompt: str, request: DistillRequest, folder: RunFolder
) -> NDArray[np.float32]:
    """The teacher's vectors of the texts, ``(texts, dim)``."""
    from QEfficient.evaluate.data.digest import digest_of

    def compute() -> NDArray[np.float32]:
        with asked(master):
            found: NDArray[np.float32] = master.encode(
                texts, prompt=prompt, batch_size=request.batch_size, show_progress_bar=False
            )
        return found

    return kept(folder.path, {"run": folder.key, "texts": digest_of({"text": texts})}, compute)
