"""``qefficient finetune``: trains a model on a file of rows, and writes it as an ordinary repo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient.cli import models
from QEfficient.cli.evaluate import Column, Task, columns
from QEfficient.cli.options import in_options
from QEfficient.tasks.catalogue import TASKS

Rows = Annotated[Path, typer.Argument(metavar="DATA", help="Rows to train on: JSONL, JSON, CSV, TSV or parquet.")]
Output = Annotated[Path, typer.Option(file_okay=False, help="The folder that the trained model goes to.")]
Held = Annotated[Path | None, typer.Option("--eval", help="Held-out rows: loss and metrics on them, before and after.")]
Class = Annotated[
    str | None,
    typer.Option("--class", help=f"What the model is to be for, where its files have no head: {', '.join(TASKS)}."),
]


def finetune(
    model: models.Model,
    data: Rows,
    output: Output,
    held_out: Held = None,
    task: Task = None,
    column: Column = None,
    kind: Class = None,
    labels: Annotated[int | None, typer.Option(help="How many labels a new head has.")] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 1.0,
    batch_size: Annotated[int, typer.Option(help="Rows of a step.")] = 32,
    learning_rate: Annotated[float | None, typer.Option(help="Left out: 5e-5, and 5e-4 for adapters.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order of rows, dropout and adapters.")] = 0,
    lora: Annotated[bool, typer.Option("--lora", help="Train adapters, and merge them when done.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of the same run.")] = False,
    pooling: models.Pooling = None,
) -> None:
    """Train a model further. Its checkpoints are kept beside it, for --resume after a Ctrl-C."""
    from QEfficient.train.save import save_model

    new_folder(output)
    given: dict[str, Any] = {} if labels is None else {"num_labels": labels}
    loaded: Any = models.load(model, _kind(model, kind, task, labels), pooling, **given)
    with in_options(checkpoints(output)):
        trained = loaded.fine_tune(
            data,
            held_out,
            task=task,
            columns=columns(column),
            epochs=epochs,
            batch_size=batch_size,
            **({} if learning_rate is None else {"learning_rate": learning_rate}),
            seed=seed,
            lora=lora,
            output_dir=checkpoints(output),
            resume=resume,
        )
    print(trained)
    print(f"Model: {save_model(trained, output)}")


_HEADS = {
    "text-classification": "text-classification",
    "multi-label": "text-classification",
    "regression": "text-classification",
    "reranking": "text-classification",
    "similarity": "text-classification",
    "token-classification": "token-classification",
    "image-classification": "image-classification",
    "audio-classification": "audio-classification",
}
"""What the rows are for → what a model with labels is for that is trained on them."""


def _kind(model: str, kind: str | None, task: str | None, labels: int | None) -> str:
    """What the model is to be for. One without a head gets one where labels are asked for and the task is named."""
    found = kind or models.task_of(model)
    if labels is None or found not in TASKS or not TASKS[found].pools:
        return found
    if kind is None and task in _HEADS:
        return _HEADS[task]
    what = f"a model for {found} has none: pass --class text-classification, or drop --labels"
    raise typer.BadParameter(what, param_hint="--labels")


def new_folder(output: Path) -> None:
    """Refuses a folder that holds something, before a training that may take hours."""
    if output.is_dir() and any(output.iterdir()):
        raise typer.BadParameter(f"{output} is not empty: name a new folder", param_hint="--output")


def checkpoints(output: Path) -> Path:
    """Where a run's checkpoints are kept, beside the folder of its model."""
    folder = output.resolve()  # "." has no name of its own
    return folder.with_name(f"{folder.name}.checkpoints")
