"""Trains a reranker: a module that scores pairs, with sentence-transformers' trainer of cross-encoders."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError
from QEfficient.export.isolated import isolated
from QEfficient.train.adjust import adjusted, check_trainable, merged, with_adapters
from QEfficient.train.fingerprint import sentence_reading
from QEfficient.train.folder import RunFolder, run_folder
from QEfficient.train.pairs import Columns, reranker_columns
from QEfficient.train.record import Course, Trained, TrainedOn, name_of
from QEfficient.train.request import TrainRequest, refuse
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
from QEfficient.train.sentence_losses import reranker_loss
from QEfficient.train.sentence_model import transformer

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples
    from QEfficient.records import TextFacts

_BINARY = "BinaryCrossEntropyLoss"
"""The loss that a sigmoid is a part of."""


def fine_tune_reranker(
    module: nn.Module,
    tokenizer: Any,
    train: Examples,
    held_out: Examples | None = None,
    request: TrainRequest | None = None,
    *,
    text: TextFacts | None = None,
    score: Score | None = None,
) -> Trained:
    """Trains a module of one output on pairs, in place: hand in a copy of one that is still needed.

    Args:
        module: A model for sequence classification with one label, in float32.
        tokenizer: HuggingFace's.
        train: Rows of reranking (queries with graded documents: each is a pair), or of similarity (scored pairs).
        held_out: Likewise, for the loss before and after, and for early stopping.
        request: How to train.
        text: The model's limit and prompts; ``None`` for a module in memory.
        score: Asked about the ``CrossEncoder`` before and after.

    Returns:
        The module with its new weights, in a ``CrossEncoder``, and how they came to be.

    Raises:
        MissingExtraError: The extra ``train`` is not installed.
        InputError: There is nothing to learn from the rows, or the module has several outputs. Nothing was trained.
        OptionError: A keyword does not fit this kind of model.
        KeyboardInterrupt: With a note of the last checkpoint.
    """
    from torch import nn

    request = request or TrainRequest()
    needs("accelerate", "datasets", "sentence_transformers", *(["peft"] if request.lora else []))
    check_rows(train, held_out, request)
    check_trainable(module, request.gradient_checkpointing)
    refuse(
        request, "a reranker", "class_weights", "hard_negatives", "prompts", "group_by_length", "gradient_accumulation"
    )
    columns = reranker_columns(train, "training")
    others = None if held_out is None else reranker_columns(held_out, "held-out")
    _check(module, columns, others, request)
    model = _cross_encoder(module, tokenizer, text, request.max_length)
    loss = reranker_loss(request, model)
    if type(loss).__name__ != _BINARY:
        model.activation_fn = nn.Identity()  # the loss compares the logits themselves, or their order
    read = sentence_reading(model, bool(text and text.lower_case))
    folder = run_folder(request, module, read, train, held_out)
    name = name_of(module)
    course = interruptible(partial(_train, model, loss, (columns, others), request, folder, score), folder)
    if text is not None:
        model.max_seq_length = text.max_length  # max_length bounds the training's texts, and not the model's
    on = TrainedOn.of(train, held_out)
    return Trained(model[0].model.eval(), model, tokenizer, name, on, request, course, folder.path)


@isolated
def _train(
    model: Any,
    loss: Any,
    rows: tuple[Columns, Columns | None],
    request: TrainRequest,
    folder: RunFolder,
    score: Score | None,
) -> Course:
    """Trains the ``CrossEncoder`` in place."""
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    columns, others = rows
    arguments = training_arguments(request, folder, others is not None)
    # of several processes: what a CrossEncoder gives is no dict, in which torch would look for unused parameters
    arguments |= {"ddp_find_unused_parameters": False}
    with own_seeds(request.seed), adjusted(model[0].model, request):
        if request.lora is not None:
            model[0].model = with_adapters(model[0].model, request.lora)
        trainer = with_whole_checkpoints(CrossEncoderTrainer)(
            model=model,
            args=sentence_arguments(CrossEncoderTrainingArguments, arguments, len(columns["label"])),
            train_dataset=Dataset.from_dict(columns),
            eval_dataset=None if others is None else Dataset.from_dict(others),
            loss=loss,
            callbacks=callbacks(request),
        )
        course = run(trainer, request, folder, score)
        if request.lora is not None:
            model[0].model = merged(model[0].model)
    return course


def _cross_encoder(module: nn.Module, tokenizer: Any, text: TextFacts | None, max_length: int | None) -> Any:
    from sentence_transformers import CrossEncoder

    limit = max_length if text is None else min(max_length or text.max_length, text.max_length)
    first = transformer(module, tokenizer, limit, bool(text and text.lower_case), "sequence-classification")
    prompts = {} if text is None else {"prompts": dict(text.prompts), "default_prompt_name": text.default_prompt}
    return CrossEncoder(modules=[first], device="cpu", **prompts)


def _check(module: nn.Module, columns: Columns, others: Columns | None, request: TrainRequest) -> None:
    config: Any = module.config
    if config.num_labels != 1:
        raise InputError(
            "A reranker has one output, the score of a pair.",
            got=f"a model with {config.num_labels}",
            allowed="num_labels=1",
            do="load the model with from_pretrained(…, num_labels=1)",
        )
    if request.loss in (None, _BINARY):
        for row, label in enumerate([*columns["label"], *(others or {"label": []})["label"]]):
            if not 0 <= label <= 1:
                raise InputError(
                    "BinaryCrossEntropyLoss takes labels from 0 to 1.",
                    got=f"{label} in pair {row}",
                    allowed="0 for a document that is not relevant, 1 for one that is, or a share",
                    do="scale the grades, or choose another loss, such as MSELoss",
                )
