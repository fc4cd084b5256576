"""``qefficient distill``: a smaller model that gives what a teacher gives, as an ordinary repo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient.cli import models
from QEfficient.cli.evaluate import Column, columns
from QEfficient.cli.finetune import Output, checkpoints, new_folder
from QEfficient.cli.options import in_options
from QEfficient.cli.trained import figures
from QEfficient.tasks.catalogue import TASKS

Texts = Annotated[Path, typer.Argument(metavar="DATA", help="Texts: a file of rows, JSONL, JSON, CSV, TSV or parquet.")]
Held = Annotated[
    Path | None,
    typer.Option("--eval", help="Held-out texts: the loss on them before and after; with --task metrics too."),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="What the rows are for: of a model with a head their labels are learnt from too; of an embedding model "
        "it says what --eval holds, such as similarity."
    ),
]


def distill(
    teacher: models.Model,
    data: Texts,
    output: Output,
    layers: Annotated[
        int | None, typer.Option(help="How many of the teacher's layers the student begins with.")
    ] = None,
    student: Annotated[str | None, typer.Option(help="In place of layers: a smaller model to train.")] = None,
    held_out: Held = None,
    task: Task = None,
    column: Column = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 1.0,
    batch_size: Annotated[int, typer.Option(help="Rows of a step.")] = 64,
    learning_rate: Annotated[float | None, typer.Option(help="Left out: 3e-4.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order of rows and of what starts at random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of the same run.")] = False,
    pooling: models.Pooling = None,
) -> None:
    """Train a smaller model to give what a larger one gives."""
    from QEfficient.train.save import copy_model

    new_folder(output)
    loaded: Any = models.load(teacher, models.task_of(teacher), pooling)
    if not hasattr(loaded, "distill"):
        raise typer.BadParameter(f"{type(loaded).__name__} can't be distilled here", param_hint="MODEL")
    rows = _rows(models.task_of(teacher), data, held_out, task, columns(column))
    with in_options(checkpoints(output)):
        made = loaded.distill(
            student,
            layers=layers,
            **rows,
            epochs=epochs,
            batch_size=batch_size,
            **({} if learning_rate is None else {"learning_rate": learning_rate}),
            seed=seed,
            output_dir=checkpoints(output),
            resume=resume,
        )
    copy_model(made.name_or_path, output)
    facts = made.trained
    print(f"{facts['from']}, distilled on {facts['data']['rows']} rows: {facts['steps']} steps")
    print("".join(f"  {line}\n" for line in figures(facts)) + f"Model: {output}")


def _rows(
    kind: str, data: Path, held_out: Path | None, task: str | None, named: dict[str, str] | None
) -> dict[str, Any]:
    """The keywords of ``distill`` about rows. A model of vectors learns from texts: a task is of held-out rows."""
    given: dict[str, Any] = {"data": data, "eval": held_out, "columns": named}
    if task is None:
        return given
    if kind not in TASKS or not TASKS[kind].pools:
        return given | {"task": task}
    if held_out is None:
        raise typer.BadParameter("an embedding model learns from texts alone: pass --eval too", param_hint="--task")
    from QEfficient.evaluate.data import read_examples
    from QEfficient.train.distill_texts import text_columns

    return given | {"eval": read_examples(held_out, task, named), "columns": text_columns(named)}
