"""Fine-tuning of an Auto object: rows of any kind → the room ``train`` → the object with its new weights.

The weights go into a folder, as an ordinary repo, and the object goes on from there: as ``from_pretrained`` of that
folder has it, so that it is compiled, pickled and saved like any other.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from QEfficient import hub
from QEfficient.auto.encoder_road import EncoderRoad
from QEfficient.auto.processors import own_processor
from QEfficient.errors import OptionError, UsageError
from QEfficient.evaluate.data import read_examples
from QEfficient.evaluate.record import Examples
from QEfficient.export.isolated import isolated
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.head import parse_head
from QEfficient.source.identity import is_native
from QEfficient.source.origin import Origin
from QEfficient.tasks.catalogue import FEATURE_EXTRACTION, FILL_MASK, TEXT_CLASSIFICATION
from QEfficient.train.alone import one_at_a_time

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.train.record import Trained
    from QEfficient.train.run import Score

RERANKING = ("reranking", "similarity")
"""Tasks of rows that a model for text classification is trained on as a reranker."""

OF_TEXT_CLASSIFIERS = ("text-classification", "multi-label", "regression", *RERANKING)
"""Tasks of rows that a model for text classification is trained on."""

Model = TypeVar("Model", bound=EncoderRoad)
Columns = Mapping[str, str | Sequence[str] | None]


@one_at_a_time()
def fine_tune(
    model: EncoderRoad,
    rows: tuple[object, object],
    task: str | None,
    columns: Columns | None,
    processors: tuple[Any, Any],
    score: Score | None,
    keywords: Mapping[str, Any],
) -> Trained:
    """Trains a copy of the model and puts it in place; the program that was compiled before is retired.

    Args:
        model: An Auto object.
        rows: Those to train on, and those held out or ``None``.
        task: What they are for; ``None``: their columns tell it.
        columns: Role → column, for those who call it otherwise.
        processors: HuggingFace's tokenizer, or another processor, of a model in memory; ``None`` for its own.
        score: As the room ``train`` takes it; ``None``: the metrics of the held-out rows.
        keywords: How to train.
    """
    from QEfficient.train.embeddings import fine_tune_embeddings
    from QEfficient.train.heads import fine_tune_head
    from QEfficient.train.material import SIGNAL_TASKS
    from QEfficient.train.request import parse_request
    from QEfficient.train.rerankers import fine_tune_reranker
    from QEfficient.train.scores import held_out_score

    check_score(score)
    request = parse_request(keywords)
    origin = model._need_origin("fine_tune")
    reader = own_processor(origin, model._task, *processors)
    train = examples_of(model, rows[0], task, columns)
    held_out = None if rows[1] is None else examples_of(model, rows[1], train.task, columns)
    check_task(model, train)
    text = None if train.task in SIGNAL_TASKS else model._text()
    score = score or held_out_score(held_out, reader, text, vectors=model._task is FEATURE_EXTRACTION)
    module = own_module(origin)
    if model._task is FEATURE_EXTRACTION:
        from QEfficient.train.sentence_model import SentenceHead

        head = SentenceHead(sentence_steps(model, module), origin.repo.folder if origin.repo else None, text)
        trained = fine_tune_embeddings(module, reader, head, train, held_out, request, score=score)
    elif train.task in RERANKING:
        trained = fine_tune_reranker(module, reader, train, held_out, request, text=text, score=score)
    else:
        trained = fine_tune_head(module, reader, train, held_out, request, text=text, score=score)
    trained = dataclasses.replace(trained, name=origin.name)
    _put_in_place(model, origin, trained)
    return trained


def check_score(score: object) -> None:
    """Refuses what can't be asked about a model, before anything is loaded."""
    if score is not None and not callable(score):
        raise OptionError(
            "score is no function.",
            got=f"score={score!r}",
            allowed="a function of the model that gives a number, of which more is better",
            do="pass one; or drop score, and pass eval=… with held-out rows: their task's metrics are measured then",
        )


def examples_of(model: EncoderRoad, data: object, task: str | None, columns: Columns | None) -> Examples:
    """The caller's rows, read for the model's task."""
    if isinstance(data, Examples):
        return data
    if model._task is FILL_MASK and task in (None, FILL_MASK.name):
        from QEfficient.train.mask_texts import read_mask_texts

        return read_mask_texts(data, columns)
    return read_examples(data, task, columns, model_task=model._task.name)


def check_task(model: EncoderRoad, train: Examples) -> None:
    """The task is that of the model's class, of text classifiers one of several; embedding models say it themselves."""
    taken = OF_TEXT_CLASSIFIERS if model._task is TEXT_CLASSIFICATION else (model._task.name,)
    if model._task is not FEATURE_EXTRACTION and train.task not in taken:
        raise UsageError(
            "These rows are for another task than the model.",
            got=f"{train.task!r} for a model of {model._task.name}",
            allowed=f"rows for {' or '.join(map(repr, taken))}",
            do="load the model with the Auto class of the task",
        )


@isolated
def own_module(origin: Origin) -> nn.Module:
    """A module that may be changed, whatever mode torch is in: the caller's own never is."""
    if isinstance(origin, Checkpoint) and not origin.handed_out:
        return origin.to_train()
    module = origin.module()
    if not is_native(module) and not (isinstance(origin, Checkpoint) and origin.remote_code):
        raise UsageError(
            "The module has parts of classes that are not transformers' own: what was trained could not be read back.",
            got=type(module).__name__,
            allowed="a model of transformers as its class makes it; an adapter of peft merged before",
            do="merge or unwrap it, or train it with the functions of QEfficient.train",
        )
    return copy.deepcopy(module).float()


@isolated
def whole_module(origin: Origin) -> nn.Module:
    """A model's module as it stands, of which no part may be random numbers, as a student's head may be."""
    if isinstance(origin, Checkpoint) and not origin.handed_out:
        module = origin.module().float()
        origin.release()  # it is ours now
        return module
    return own_module(origin)


def sentence_steps(model: EncoderRoad, module: nn.Module) -> Sequence[Mapping[str, Any]]:
    """What stands behind an encoder; one that is a part of its model is refused."""
    encoder = model._recipe(False, "off").architecture.encoder_of(module)
    if encoder is not module:
        raise UsageError(
            "Only a part of this model is exported, and it can't be trained by itself here.",
            got=type(module).__name__,
            allowed="a model that is an encoder as a whole",
            do=f"load the encoder alone, as {type(encoder).__name__} does",
        )
    return model._head.steps


def _put_in_place(model: EncoderRoad, before: Origin, trained: Trained) -> None:
    remote_code = isinstance(before, Checkpoint) and before.remote_code
    origin = written(trained, model._task.auto_class, f"{before.name} (fine-tuned)", remote_code)
    head = parse_head("auto", origin.repo) if model._task is FEATURE_EXTRACTION else model._head
    with model._lock:
        model._become(origin)
        model._head = head


def written(trained: Trained, auto_class: str, name: str, remote_code: bool) -> Checkpoint:
    """What was trained as a model in a folder. The first of several processes writes; the others go on when it has."""
    from QEfficient.train.folder import MODEL_FOLDER
    from QEfficient.train.processes import by_the_first
    from QEfficient.train.save import keep_model

    folder = by_the_first(lambda: keep_model(trained, trained.output_dir / MODEL_FOLDER))
    found = dataclasses.replace(hub.resolve(folder), name=name)
    return Checkpoint(found, auto_class, (), {"trust_remote_code": True} if remote_code else {})


def like(model: Model, origin: Checkpoint) -> Model:
    """An object of the model's class on files that were written for it; a repo of sentence-transformers says the head.

    Args:
        model: It stays as it is.
        origin: The files.
    """
    made = type(model).__new__(type(model))
    made._begin(origin)
    if model._task is FEATURE_EXTRACTION:
        made._head = parse_head("auto", origin.repo)
    return made
