"""Trains a module with a head: classes, several labels, a score, a label a word, answers in a context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError, UsageError, unknown
from QEfficient.export.isolated import isolated
from QEfficient.train.adjust import adjusted, check_trainable, merged, with_adapters
from QEfficient.train.features import TASKS, Feature, HeadReader, collator, find_labels
from QEfficient.train.fingerprint import reading
from QEfficient.train.folder import RunFolder, run_folder
from QEfficient.train.labels import Labels, weights_of
from QEfficient.train.losses import HeadLoss, countable, head_loss
from QEfficient.train.order import in_order
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
    training_arguments,
    with_whole_checkpoints,
)

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples
    from QEfficient.records import TextFacts

_PROBLEMS = {
    "text-classification": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
"""Task → what transformers' config calls it."""

IDENTITY = "torch.nn.modules.linear.Identity"
"""What makes scores of logits, as sentence-transformers writes it into a config."""


def fine_tune_head(
    module: nn.Module,
    tokenizer: Any,
    train: Examples,
    held_out: Examples | None = None,
    request: TrainRequest | None = None,
    *,
    text: TextFacts | None = None,
    score: Score | None = None,
) -> Trained:
    """Trains a module of transformers with a head, in place: hand in a copy of one that is still needed.

    The names of the labels stand in its config afterwards, and with them what transformers calls the problem.

    Args:
        module: A model for sequence or token classification, or question answering; in float32.
        tokenizer: HuggingFace's, a fast one.
        train: Rows of one of :data:`QEfficient.train.features.TASKS`.
        held_out: Rows of the same task, on which the loss is measured before and after, and for early stopping.
        request: How to train.
        text: The model's limit, and whether it lower-cases; ``None``: the tokenizer's own limit.
        score: Asked about the module before and after.

    Returns:
        The module with its new weights, and how they came to be.

    Raises:
        MissingExtraError: The extra ``train`` is not installed.
        InputError: The rows, or their labels, do not fit. Nothing was trained.
        OptionError: A keyword does not fit this kind of model.
        KeyboardInterrupt: With a note of the last checkpoint.
    """
    request = request or TrainRequest()
    needs("accelerate", *(["peft"] if request.lora else []))
    check_rows(train, held_out, request)
    check_trainable(module)
    _check(request, train)
    labels = _named(module, train)
    limit = int(tokenizer.model_max_length) if text is None else text.max_length
    reader = HeadReader(tokenizer, min(request.max_length or limit, limit), labels, bool(text and text.lower_case))
    rows = reader.features(train, "training")
    others = None if held_out is None else reader.features(held_out, "held-out")
    pieces = _Pieces(
        rows,
        others,
        collator(tokenizer, train.task == "token-classification"),
        head_loss(train.task, _class_weights(request, labels, rows)),
    )
    name = name_of(module)
    read = reading(tokenizer, reader.max_length, reader.lower_case)
    folder = run_folder(request, module, read, train, held_out)
    module, course = interruptible(partial(_train, module, pieces, request, folder, score), folder)
    return Trained(module, None, tokenizer, name, TrainedOn.of(train, held_out), request, course, folder.path)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """What a trainer is given beside the module."""

    rows: list[Feature]
    held_out: list[Feature] | None
    collate: Callable[[Sequence[Feature]], Feature]
    loss: HeadLoss


@isolated
def _train(
    module: nn.Module, pieces: _Pieces, request: TrainRequest, folder: RunFolder, score: Score | None
) -> tuple[nn.Module, Course]:
    from transformers import Trainer, TrainingArguments

    arguments = training_arguments(request, folder, pieces.held_out is not None)
    arguments |= {"remove_unused_columns": False, "label_names": ["labels"], "prediction_loss_only": True}

    class HeadTrainer(in_order(with_whole_checkpoints(Trainer), pieces.rows, request)):  # type: ignore[misc]
        def _get_num_items_in_batch(self, batch_samples: list[Feature], device: Any) -> Any:
            """Transformers would leave out scores of -100."""
            return super()._get_num_items_in_batch(
                [{"labels": countable(batch["labels"])} for batch in batch_samples], device
            )

    with own_seeds(request.seed), adjusted(module, request):
        trainer = HeadTrainer(
            model=module if request.lora is None else with_adapters(module, request.lora),
            args=TrainingArguments(**arguments),
            train_dataset=pieces.rows,
            eval_dataset=pieces.held_out,
            data_collator=pieces.collate,
            compute_loss_func=pieces.loss,
            callbacks=callbacks(request),
        )
        course = run(trainer, request, folder, score)
        if request.lora is not None:
            module = merged(trainer.model)
    return module.eval(), course


def _check(request: TrainRequest, train: Examples) -> None:
    if train.task not in TASKS:
        raise unknown(UsageError, f"No head is trained for {train.task!r}.", train.task, TASKS, argument="task")
    refuse(request, "a model with a head", "loss", "hard_negatives", "prompts")
    if request.class_weights is not None and train.task not in ("text-classification", "token-classification"):
        refuse(request, f"a model for {train.task}", "class_weights")


def _named(module: nn.Module, train: Examples) -> Labels | None:
    """The labels, which the module's config now names."""
    config: Any = module.config
    labels = find_labels(train, config)
    if train.task == "regression" and config.num_labels != 1:
        raise InputError(
            "A score a row needs a model with one output.",
            got=f"a model with {config.num_labels}",
            allowed="num_labels=1",
            do="load the model with from_pretrained(…, num_labels=1)",
        )
    if labels is not None:
        config.id2label = dict(enumerate(labels.names))
        config.label2id = {name: number for number, name in enumerate(labels.names)}
    if train.task == "regression":
        config.sentence_transformers = {"activation_fn": IDENTITY}  # the score is the logit, which else gets a sigmoid
    if train.task in _PROBLEMS:
        config.problem_type = _PROBLEMS[train.task]
    return labels


def _class_weights(request: TrainRequest, labels: Labels | None, rows: list[Feature]) -> list[float] | None:
    if request.class_weights is None or labels is None:
        return None
    held = (row["labels"] for row in rows)
    return weights_of(
        request.class_weights, labels, (n for one in held for n in (one if isinstance(one, list) else [one]))
    )
