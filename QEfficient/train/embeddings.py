"""Trains an embedding model on pairs, triplets, scored pairs or labelled texts, with sentence-transformers' trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError, OptionError, unknown
from QEfficient.export.isolated import isolated
from QEfficient.train.adjust import adjusted, check_trainable, merged, with_adapters
from QEfficient.train.fingerprint import sentence_reading
from QEfficient.train.folder import RunFolder, run_folder
from QEfficient.train.pairs import LABELLED, PAIRS, SCORED, TRIPLETS, Columns, embedding_columns
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
from QEfficient.train.sentence_losses import embedding_loss, warn_of_own_batches
from QEfficient.train.sentence_model import SentenceHead, sentence_transformer

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples


def fine_tune_embeddings(
    module: nn.Module,
    tokenizer: Any,
    head: SentenceHead,
    train: Examples,
    held_out: Examples | None = None,
    request: TrainRequest | None = None,
    *,
    score: Score | None = None,
) -> Trained:
    """Trains an encoder with the pooling behind it, in place: hand in a copy of one that is still needed.

    The task of the rows says what they are: similarity (two texts and a score), retrieval (a query and a document that
    answers it), reranking (a query with documents, some relevant), text-classification (texts whose vectors are to be
    near where labels are equal).

    Args:
        module: The encoder, in float32.
        tokenizer: HuggingFace's.
        head: What stands behind the encoder; its weights are trained too.
        train: The rows.
        held_out: Rows of the same form, on which the loss is measured before and after, and for early stopping.
        request: How to train.
        score: Asked about the ``SentenceTransformer`` before and after.

    Returns:
        The module with its new weights, in a ``SentenceTransformer``, and how they came to be.

    Raises:
        MissingExtraError: The extra ``train`` is not installed.
        InputError: There is nothing to learn from the rows. Nothing was trained.
        OptionError: A keyword does not fit this kind of model, or the loss does not fit the rows.
        PoolingError: The head can't be trained.
        KeyboardInterrupt: With a note of the last checkpoint.
    """
    request = request or TrainRequest()
    needs("accelerate", "datasets", "sentence_transformers", *(["peft"] if request.lora else []))
    check_rows(train, held_out, request)
    check_trainable(module, request.gradient_checkpointing)
    refuse(request, "an embedding model", "class_weights", "group_by_length", "gradient_accumulation")
    form, columns = embedding_columns(train, "training")
    others = None if held_out is None else embedding_columns(held_out, "held-out")[1]
    if request.hard_negatives is not None and form != PAIRS:
        raise OptionError(
            "Hard negatives are mined for pairs only.",
            got=f"hard_negatives={request.hard_negatives} with {form}",
            allowed="pairs: task='retrieval'",
            do="drop hard_negatives, or read the rows as pairs",
        )
    if form == LABELLED and (request.batch_size < 4 or request.batch_size % 2):
        raise OptionError(
            "Batches of labelled texts hold two texts a label, of two labels or more.",
            got=f"batch_size={request.batch_size}",
            allowed="an even batch_size from 4 on",
            do="choose another batch_size",
        )
    _columns_of(request.prompts, form, request.hard_negatives or 0)
    model = sentence_transformer(module, tokenizer, head, request.max_length)
    _keep_prompts(model, request.prompts)
    loss = partial(embedding_loss, request, form=form, columns=columns)
    warn_of_own_batches(loss(model))  # what does not fit is refused before the run has a folder
    read = sentence_reading(model, bool(head.text and head.text.lower_case))
    folder = run_folder(request, model, read, train, held_out)
    work = partial(_train, model, loss, (form, columns, others), request, folder, score)
    name = name_of(module)
    course = interruptible(work, folder)
    if head.text is not None:
        model.max_seq_length = head.text.max_length  # max_length bounds the training's texts, and not the model's
    on = TrainedOn.of(train, held_out)
    return Trained(model[0].model.eval(), model, tokenizer, name, on, request, course, folder.path)


@isolated
def _train(
    model: Any,
    loss: partial[Any],
    rows: tuple[str, Columns, Columns | None],
    request: TrainRequest,
    folder: RunFolder,
    score: Score | None,
) -> Course:
    """Trains the ``SentenceTransformer`` in place."""
    from datasets import Dataset
    from sentence_transformers.sentence_transformer import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    form, columns, others = rows
    prompts = _columns_of(request.prompts, form, request.hard_negatives or 0)
    sampler = {LABELLED: BatchSamplers.GROUP_BY_LABEL, SCORED: BatchSamplers.BATCH_SAMPLER}
    arguments = training_arguments(request, folder, others is not None)
    arguments |= {
        "batch_sampler": sampler.get(form, BatchSamplers.NO_DUPLICATES),
        # else the model's default prompt, as encode has it
        "prompts": prompts if prompts is not None else model.prompts.get(model.default_prompt_name or "") or None,
    }
    with own_seeds(request.seed), adjusted(model[0].model, request):
        dataset = Dataset.from_dict(columns)
        if request.hard_negatives is not None:
            dataset = _with_negatives(dataset, model, request.hard_negatives, request.batch_size)
        if request.lora is not None:
            model[0].model = with_adapters(model[0].model, request.lora)
        trainer = with_whole_checkpoints(SentenceTransformerTrainer)(
            model=model,
            args=sentence_arguments(SentenceTransformerTrainingArguments, arguments, len(dataset)),
            train_dataset=dataset,
            eval_dataset=None if others is None else Dataset.from_dict(others),
            loss=loss(model),
            callbacks=callbacks(request),
        )
        course = run(trainer, request, folder, score)
        if request.lora is not None:
            model[0].model = merged(model[0].model)
    return course


_EVERY = "every text"
"""The name of a prompt that stands before every text."""

_ROLES: Mapping[str, Mapping[str, Sequence[str]]] = {
    SCORED: {"text": ["sentence1"], "pair": ["sentence2"]},
    PAIRS: {"query": ["anchor"], "document": ["positive"]},
    TRIPLETS: {"query": ["anchor"], "document": ["positive", "negative"]},
    LABELLED: {"text": ["text"]},
}
"""Form of the rows → role → the trainer's columns that have its texts."""


def _keep_prompts(model: Any, prompts: str | Mapping[str, str] | None) -> None:
    """What is trained with a prompt is used with it: one for every text is the default, those of roles are named."""
    if isinstance(prompts, str):
        model.prompts = {**model.prompts, _EVERY: prompts}
        model.default_prompt_name = _EVERY
    elif prompts is not None:
        model.prompts = {**model.prompts, **{role: prompts[role] for role in ("query", "document") if role in prompts}}


def _columns_of(prompts: str | Mapping[str, str] | None, form: str, negatives: int) -> str | Mapping[str, str] | None:
    """Prompts as the trainer takes them: roles, or its own columns, as its columns."""
    if not isinstance(prompts, Mapping):
        return prompts
    mined = [f"negative_{number}" for number in range(1, negatives + 1)] if negatives > 1 else ["negative"]
    roles = {role: [*columns] for role, columns in _ROLES[form].items()}
    if negatives:
        roles["document"] += mined
    own = {column: [column] for columns in roles.values() for column in columns}
    found: dict[str, str] = {}
    for name, text in prompts.items():
        if name not in roles and name not in own:
            what = f"There are no texts {name!r} to stand a prompt before."
            raise unknown(
                OptionError, what, name, [*roles, *(one for one in own if one not in roles)], argument="prompts"
            )
        found |= dict.fromkeys(roles.get(name) or own[name], text)
    return found


def _with_negatives(dataset: Any, model: Any, negatives: int, batch_size: int) -> Any:
    """The pairs with the nearest texts that are not their positive, a column each."""
    from sentence_transformers.util import mine_hard_negatives

    mined = mine_hard_negatives(
        dataset,
        model,
        num_negatives=negatives,
        output_format="n-tuple",
        batch_size=batch_size,
        verbose=False,
    )
    if not len(mined):
        raise InputError(
            "There are too few texts to mine hard negatives from.",
            got=f"{len(dataset)} pairs, {negatives} negatives for each",
            allowed="more texts than negatives",
            do="ask for fewer hard_negatives, or add pairs",
        )
    return mined
