"""Trains a module with a head: on texts, images or clips, for classes, scores, words, answers, choices or letters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError, UsageError, unknown
from QEfficient.train import features
from QEfficient.train.adjust import check_trainable
from QEfficient.train.features import HeadReader, find_labels
from QEfficient.train.labelled import Feature
from QEfficient.train.labels import Labels, weights_of
from QEfficient.train.losses import HeadLoss, countable, head_loss
from QEfficient.train.material import LABELS_PER_TOKEN, SIGNAL_TASKS, Material, of_signals, of_texts
from QEfficient.train.order import in_order
from QEfficient.train.record import Trained
from QEfficient.train.request import TrainRequest, refuse
from QEfficient.train.rows import check_rows, row_limit
from QEfficient.train.run import Score, needs, with_whole_checkpoints
from QEfficient.train.token_means import with_token_means
from QEfficient.train.training import Training, train_in_folder

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples
    from QEfficient.records import TextFacts

_PROBLEMS = {
    "text-classification": "single_label_classification",
    "image-classification": "single_label_classification",
    "audio-classification": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
"""Task → what transformers' config calls it."""

TASKS = (*features.TASKS, *SIGNAL_TASKS)
"""The tasks that a module with a head is trained for."""

_WEIGHTED = ("text-classification", "token-classification", "image-classification", "audio-classification")
"""Tasks of classes, which may have weights."""

IDENTITY = "torch.nn.modules.linear.Identity"
"""What makes scores of logits, as sentence-transformers writes it into a config."""


def fine_tune_head(
    module: nn.Module,
    processor: Any,
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
        module: A model with the head of the task; in float32.
        processor: What reads its inputs, HuggingFace's: a fast tokenizer; of images an image processor, of clips a
            feature extractor, for speech what has a ``feature_extractor`` and a ``tokenizer``.
        train: Rows of one of :data:`QEfficient.train.heads.TASKS`. Those of fill-mask are plain texts, of which 15 % of
            the tokens are hidden anew each epoch, or have one mask each, and the word behind it as ``target``.
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
    check_trainable(module, request.gradient_checkpointing)
    _check(request, train)
    labels = _labels(module, train)
    if train.task in SIGNAL_TASKS:
        material = of_signals(module, processor, train, held_out, labels)
    else:
        limit = row_limit(module, processor, text, request.max_length)
        reader = HeadReader(processor, limit, labels, bool(text and text.lower_case))
        material = of_texts(reader, train, held_out, request.seed, getattr(module.config, "vocab_size", None))
    weights = _class_weights(request, labels, material)
    loss = head_loss(train.task, weights, int(getattr(module.config, "pad_token_id", None) or 0))
    _name(module, labels, train.task)
    make = partial(_trainer, material, loss, request)
    return train_in_folder(Training(module, processor, material.read, train, held_out, request, make, score))


def _trainer(
    material: Material,
    loss: HeadLoss,
    request: TrainRequest,
    model: nn.Module,
    arguments: dict[str, Any],
    callbacks: list[Any],
) -> Any:
    from transformers import Trainer, TrainingArguments

    arguments |= {"remove_unused_columns": False, "label_names": ["labels"], "prediction_loss_only": True}
    ordered = in_order(with_whole_checkpoints(Trainer), material.lengths, request, material.begin)

    if material.task in LABELS_PER_TOKEN:
        ordered = with_token_means(ordered)

    class HeadTrainer(ordered):  # type: ignore[misc, valid-type]
        def _get_num_items_in_batch(self, batch_samples: list[Feature], device: Any) -> Any:
            """Transformers would leave out scores of -100."""
            return super()._get_num_items_in_batch(
                [{"labels": countable(material.task, batch["labels"])} for batch in batch_samples], device
            )

    return HeadTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=material.rows,
        eval_dataset=material.held_out,
        data_collator=material.collate,
        compute_loss_func=loss,
        callbacks=callbacks,
    )


def _check(request: TrainRequest, train: Examples) -> None:
    if train.task not in TASKS:
        raise unknown(UsageError, f"No head is trained for {train.task!r}.", train.task, TASKS, argument="task")
    refuse(request, "a model with a head", "loss", "hard_negatives", "prompts")
    if request.class_weights is not None and train.task not in _WEIGHTED:
        refuse(request, f"a model for {train.task}", "class_weights")
    if train.task in SIGNAL_TASKS:
        refuse(request, f"a model for {train.task}", "max_length")


def _labels(module: nn.Module, train: Examples) -> Labels | None:
    """The labels of the rows in the order of the model's."""
    labels = find_labels(train, module.config)
    check_outputs(module, train.task)
    return labels


def check_outputs(module: nn.Module, task: str) -> None:
    """Refuses a model that has not the outputs which rows with scores are about.

    Raises:
        InputError: It has more than one.
    """
    config: Any = module.config
    if task == "regression" and config.num_labels != 1:
        raise InputError(
            "A score a row needs a model with one output.",
            got=f"a model with {config.num_labels}",
            allowed="num_labels=1",
            do="load the model with from_pretrained(…, num_labels=1)",
        )


def _name(module: nn.Module, labels: Labels | None, task: str) -> None:
    """Says in the module's config what its outputs are, once nothing more can be refused."""
    config: Any = module.config
    if labels is not None:
        config.id2label = dict(enumerate(labels.names))
        config.label2id = {name: number for number, name in enumerate(labels.names)}
    if task == "regression":
        config.sentence_transformers = {"activation_fn": IDENTITY}  # the score is the logit, which else gets a sigmoid
    if task in _PROBLEMS:
        config.problem_type = _PROBLEMS[task]


def _class_weights(request: TrainRequest, labels: Labels | None, material: Material) -> list[float] | None:
    if request.class_weights is None or labels is None:
        return None
    held = material.labels()
    return weights_of(
        request.class_weights, labels, (n for one in held for n in (one if isinstance(one, list) else [one]))
    )
