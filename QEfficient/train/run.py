"""One training, whatever is trained: its arguments, its checkpoints, its course, and what a Ctrl-C leaves."""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from QEfficient import settings
from QEfficient.errors import InputError, MissingExtraError, UsageError
from QEfficient.evaluate.record import Outcome
from QEfficient.progress import is_watched
from QEfficient.train.alone import one_at_a_time
from QEfficient.train.folder import STATE_FILE, RunFolder, last_checkpoint
from QEfficient.train.processes import backend
from QEfficient.train.record import Course
from QEfficient.train.request import AUTO, TrainRequest
from QEfficient.train.scores import changes

log = logging.getLogger("QEfficient")
_R = TypeVar("_R")

Score = Callable[[Any], float | Outcome]
"""A model as it is trained (a module, a ``SentenceTransformer``, a ``CrossEncoder``) → how good it is; or what it
answers to some rows, always the same ones, of which the metrics are taken."""

LOGGING_STEPS = 10


def needs(*packages: str) -> None:
    """Refuses to begin without what training needs.

    Raises:
        MissingExtraError: A package is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            "Training needs packages that are not installed.",
            got=", ".join(missing),
            allowed="the extra train",
            do='pip install "QEfficient[train]"',
        )


def training_arguments(request: TrainRequest, folder: RunFolder, held_out: bool) -> dict[str, Any]:
    """Arguments of transformers' ``TrainingArguments`` that hold for every kind of model."""
    import torch

    gpu = torch.cuda.is_available()
    mixed = gpu and request.precision == AUTO
    when: dict[str, Any] = {"save_strategy": "epoch"} if request.save_steps is None else {"save_strategy": "steps"}
    if request.save_steps is not None:
        when |= {"save_steps": request.save_steps, "eval_steps": request.save_steps}
    stops = request.early_stopping is not None
    return when | {
        "output_dir": str(folder.path),
        "num_train_epochs": request.epochs,
        "max_steps": request.max_steps or -1,
        "per_device_train_batch_size": request.batch_size,
        "per_device_eval_batch_size": request.batch_size,
        "gradient_accumulation_steps": request.gradient_accumulation,
        "learning_rate": request.rate,
        "weight_decay": request.weight_decay,
        "warmup_steps": request.warmup,
        "seed": request.seed,
        "data_seed": request.seed,
        "save_total_limit": 2,
        # by the trainer itself: a model that was evaluated before is not wrapped for several processes any more
        "eval_on_start": held_out and folder.checkpoint is None,
        "eval_strategy": when["save_strategy"] if stops else "no",
        "load_best_model_at_end": stops,
        "metric_for_best_model": "eval_loss" if stops else None,
        "greater_is_better": False if stops else None,
        "restore_callback_states_from_checkpoint": stops,  # how often the loss did not fall
        "logging_steps": LOGGING_STEPS,
        "logging_first_step": True,
        "bf16": mixed and torch.cuda.is_bf16_supported(),
        "fp16": mixed and not torch.cuda.is_bf16_supported(),
        "ddp_backend": backend(),
        "dataloader_pin_memory": gpu,
        "disable_tqdm": not (settings.progress_bars() and is_watched()),
        "report_to": ["tensorboard"] if request.tensorboard else "none",
        "use_cpu": not gpu,
        "push_to_hub": False,
    }


def sentence_arguments(kind: Callable[..., Any], arguments: Mapping[str, Any], rows: int) -> Any:
    """Arguments of sentence-transformers, which leaves out rows that do not fill a batch in each of several processes.

    Args:
        kind: The class of its ``TrainingArguments``.
        arguments: Those of :func:`training_arguments` and more.
        rows: How many there are to train on.

    Raises:
        InputError: They are too few to train on at all.
    """
    processes = settings.training_processes()
    step = arguments["per_device_train_batch_size"] * processes
    if processes > 1 and rows < step:
        raise InputError(
            "There are too few rows to give each process a batch.",
            got=f"{rows} rows for {processes} processes with batch_size={step // processes}",
            allowed=f"{step} rows or more; rows that do not fill a step are left out",
            do="choose a smaller batch_size, or train in one process",
        )
    return kind(**arguments, dataloader_drop_last=processes > 1)  # it would set that itself, and warn


def callbacks(request: TrainRequest) -> list[Any]:
    """What looks on while it trains."""
    from transformers import EarlyStoppingCallback, TrainerCallback

    class Told(TrainerCallback):
        """Tells the losses to the log, where transformers would print them."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                log.info("training, step %d of %d: %s", state.global_step, state.max_steps, logs)

    stop = [] if request.early_stopping is None else [EarlyStoppingCallback(request.early_stopping)]
    return [Told(), *stop]


def with_whole_checkpoints(trainer: type[Any]) -> type[Any]:
    """A trainer whose checkpoints hold every weight of what it trains, adapters too, and are read back into it.

    sentence-transformers would make the model anew from a checkpoint, and peft would look for the base of an adapter.
    """
    from safetensors.torch import load_model, save_model

    class Trainer(trainer):  # type: ignore[misc]
        """See :func:`with_whole_checkpoints`."""

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_model(self.model, str(folder / "model.safetensors"))

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            self.take_weights(Path(resume_from_checkpoint))

        def _load_best_model(self) -> None:
            self.take_weights(Path(self.state.best_model_checkpoint))

        def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
            """Held-out rows all count, those too that sentence-transformers would leave out of several processes."""
            before, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
            try:
                return super().get_eval_dataloader(eval_dataset)
            finally:
                self.args.dataloader_drop_last = before

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            """A share of one step is no warm-up: transformers rounds up, and would train it at a rate of 0."""
            if num_training_steps == 1 and self.args.warmup_steps < 1:
                self.args.warmup_steps = 0
            return super().create_scheduler(num_training_steps, optimizer)

        def take_weights(self, checkpoint: Path) -> None:
            """Reads the weights of a checkpoint."""
            load_model(self.model, str(checkpoint / "model.safetensors"))

        def add_model_card_callback(self, default_args_dict: Any) -> None:
            """None: it would encode examples, and ask the hub about the data."""

    return Trainer


def run(trainer: Any, request: TrainRequest, folder: RunFolder, score: Score | None) -> Course:
    """Trains, and measures before and after.

    Args:
        trainer: Of transformers or sentence-transformers, ready to go.
        request: How to train.
        folder: Where its checkpoints are, and from which it goes on.
        score: Asked about the model before and after. By every process where there are several, so that none waits for
            another; all come to the same.

    Raises:
        UsageError: Weights are NaN or Inf in the end.
    """
    import torch
    from transformers import PrinterCallback, set_seed

    trainer.remove_callback(PrinterCallback)
    before = _scored(trainer, score)
    set_seed(request.seed)  # whatever scored has drawn random numbers
    began = time.perf_counter()
    if folder.finished and folder.checkpoint is not None:
        _take_finished(trainer, folder.checkpoint)
    else:
        with torch.enable_grad():  # a score that trains a model of its own is asked without gradients
            trainer.train(resume_from_checkpoint=None if folder.checkpoint is None else str(folder.checkpoint))
    seconds = time.perf_counter() - began
    _check_finite(trainer.model, request)
    history = [(int(entry["step"]), entry) for entry in trainer.state.log_history]
    first = next((float(entry["eval_loss"]) for step, entry in history if "eval_loss" in entry and not step), None)
    last = None if trainer.eval_dataset is None else float(trainer.evaluate()["eval_loss"])
    losses = tuple((step, float(entry["loss"])) for step, entry in history if "loss" in entry)
    after = _scored(trainer, score)
    trainer.model.to("cpu")
    course = Course(seconds, trainer.state.global_step, losses, _pair(first, last))
    if isinstance(before, Outcome) and isinstance(after, Outcome):
        return dataclasses.replace(course, metrics=changes(before, after))
    return dataclasses.replace(course, scores=_pair(before, after))


def _check_finite(model: Any, request: TrainRequest) -> None:
    import torch

    odd = [name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if odd:
        raise UsageError(
            "The training diverged: what came out can't be used.",
            got=f"NaN or Inf in {len(odd)} weights, such as {odd[0]}, with learning_rate={request.rate:g}",
            allowed="finite weights",
            do="choose a lower learning_rate or a longer warmup, and check the rows for extreme numbers",
        )


def _take_finished(trainer: Any, checkpoint: Path) -> None:
    """What a whole run came to: its last weights, or its best ones."""
    from transformers import TrainerState

    trainer.state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
    best = trainer.state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
    trainer.take_weights(Path(best or checkpoint))


def _scored(trainer: Any, score: Score | None) -> float | Outcome | None:
    import torch

    trainer.model.eval()
    with torch.no_grad():
        found = None if score is None else score(trainer.model)
    return found if found is None or isinstance(found, Outcome) else float(found)


def _pair(before: Any, after: Any) -> tuple[float, float] | None:
    return None if before is None or after is None else (before, after)


def interruptible(work: Callable[[], _R], folder: RunFolder) -> _R:
    """Does the work and lets go of the folder; a Ctrl-C that ends it says what is left of it.

    Raises:
        KeyboardInterrupt: With a note that names the last checkpoint.
    """
    try:
        return work()
    except KeyboardInterrupt as error:
        kept = last_checkpoint(folder.path)
        told = "No checkpoint was written yet." if kept is None else f"The last checkpoint is {kept}."
        log.warning("training was interrupted. %s", told)
        again = f" The same call with resume=True and output_dir={str(folder.path)!r} goes on from there."
        error.add_note(told if kept is None else told + again)
        raise
    finally:
        folder.release()


@contextmanager
def own_seeds(seed: int) -> Iterator[None]:
    """Random numbers from a seed, for one thread at a time; the process has those that it had before, afterwards."""
    import numpy as np
    import torch
    from transformers import set_seed

    with one_at_a_time():
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        try:
            set_seed(seed)
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
            if on_gpus:
                torch.cuda.set_rng_state_all(on_gpus)
