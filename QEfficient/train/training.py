"""One training from its folder to its record: what is the same for every kind of model stands here once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from QEfficient.export.isolated import isolated
from QEfficient.records import Json
from QEfficient.train.adjust import adjusted, merged, with_adapters
from QEfficient.train.folder import RunFolder, run_folder
from QEfficient.train.record import Course, Trained, TrainedOn, name_of
from QEfficient.train.request import TrainRequest
from QEfficient.train.run import Score, callbacks, interruptible, own_seeds, run, training_arguments

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples

MakeTrainer = Callable[["nn.Module", dict[str, Any], list[Any]], Any]
"""``(model, arguments, callbacks) -> trainer``: the model with its adapters, keywords of ``TrainingArguments``."""


@dataclass(frozen=True, slots=True)
class Training:
    """A training that is about to begin: everything about it is checked.

    Attributes:
        module: What is trained, in place.
        tokenizer: HuggingFace's.
        reading: How texts are read for it: see :mod:`QEfficient.train.fingerprint`.
        train: The rows.
        held_out: Those that are held out.
        request: How to train.
        trainer: Makes the trainer, with its rows in it.
        score: Asked about the module before and after.
    """

    module: nn.Module
    tokenizer: Any
    reading: Mapping[str, Json]
    train: Examples
    held_out: Examples | None
    request: TrainRequest
    trainer: MakeTrainer
    score: Score | None = None


def train_in_folder(training: Training) -> Trained:
    """Finds the folder of the run, trains in it, and lets go of it.

    Raises:
        UsageError: The folder is another run's, or the training diverged.
        KeyboardInterrupt: With a note of the last checkpoint.
    """
    name = name_of(training.module)
    rows = training.train, training.held_out
    folder = run_folder(training.request, training.module, training.reading, *rows)
    module, course = interruptible(partial(_train, training, folder), folder)
    return Trained(module, None, training.tokenizer, name, TrainedOn.of(*rows), training.request, course, folder.path)


@isolated
def _train(training: Training, folder: RunFolder) -> tuple[nn.Module, Course]:
    module, request = training.module, training.request
    arguments = training_arguments(request, folder, training.held_out is not None)
    with own_seeds(request.seed), adjusted(module, request):
        model = module if request.lora is None else with_adapters(module, request.lora)
        trainer = training.trainer(model, arguments, callbacks(request))
        course = run(trainer, request, folder, training.score)
        if request.lora is not None:
            module = merged(trainer.model)
    return module.eval(), course
