"""``qefficient distill``: a smaller model that gives what a teacher gives, as an ordinary repo."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient.cli import models
from QEfficient.cli.evaluate import Column, columns
from QEfficient.cli.finetune import Held, Output, checkpoints, new_folder
from QEfficient.cli.options import in_options

Texts = Annotated[Path, typer.Argument(metavar="DATA", help="Texts: a file of rows, JSONL, JSON, CSV, TSV or parquet.")]


def distill(
    teacher: models.Model,
    data: Texts,
    output: Output,
    layers: Annotated[
        int | None, typer.Option(help="How many of the teacher's layers the student begins with.")
    ] = None,
    student: Annotated[str | None, typer.Option(help="In place of layers: a smaller model to train.")] = None,
    held_out: Held = None,
    column: Column = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 1.0,
    batch_size: Annotated[int, typer.Option(help="Rows of a step.")] = 64,
    learning_rate: Annotated[float | None, typer.Option(help="Left out: 3e-4.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order of rows and of what starts at random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of the same run.")] = False,
    pooling: models.Pooling = None,
) -> None:
    """Train a smaller model to give what a larger one gives."""
    new_folder(output)
    loaded: Any = models.load(teacher, models.task_of(teacher), pooling)
    if not hasattr(loaded, "distill"):
        raise typer.BadParameter(f"{type(loaded).__name__} can't be distilled here", param_hint="MODEL")
    with in_options(checkpoints(output)):
        made = loaded.distill(
            student,
            layers=layers,
            data=data,
            eval=held_out,
            columns=columns(column),
            epochs=epochs,
            batch_size=batch_size,
            **({} if learning_rate is None else {"learning_rate": learning_rate}),
            seed=seed,
            output_dir=checkpoints(output),
            resume=resume,
        )
    shutil.copytree(made.name_or_path, output, dirs_exist_ok=True)
    print(f"Model: {output}")
