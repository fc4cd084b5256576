"""``qefficient prune``: a model without the heads and feed-forward units that matter least, as an ordinary folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient.cli import models
from QEfficient.cli.evaluate import Column, Task, columns
from QEfficient.cli.finetune import checkpoints, new_folder
from QEfficient.cli.options import MaxDrop, in_options, max_drop

Rows = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Rows like those that the model is for: JSONL, JSON, CSV, TSV or parquet."),
]
Output = Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="The folder that the model goes to.")]
Held = Annotated[Path | None, typer.Option("--eval", help="Held-out rows: metrics on them, before and after.")]


def prune(
    model: models.Model,
    data: Rows,
    output: Output,
    share: Annotated[
        float | None, typer.Option(help="Of the encoder's parameters that are to go: 0.3 takes 30 %.")
    ] = None,
    layers: Annotated[int | None, typer.Option(help="In place of a share: how many layers to keep.")] = None,
    heads: Annotated[bool, typer.Option(help="Whether attention heads may go.")] = True,
    feed_forward: Annotated[bool, typer.Option(help="Whether feed-forward units may go.")] = True,
    block: Annotated[int, typer.Option(min=1, help="Feed-forward units that go together.")] = 32,
    held_out: Held = None,
    task: Task = None,
    column: Column = None,
    recover_steps: Annotated[
        int | None, typer.Option(help="Steps in which it recovers, taught by the unpruned model. Left out: none.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of these steps. Left out: 1e-4.")] = None,
    batch_size: Annotated[int, typer.Option(help="Rows of such a step.")] = 32,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of the same run.")] = False,
    limit: MaxDrop = None,
    seed: Annotated[int, typer.Option(help="Of which rows are asked, and of their order.")] = 0,
    pooling: models.Pooling = None,
) -> None:
    """Take away what matters least on your rows, let the rest recover, and keep it if it is still good enough."""
    from QEfficient.train.save import copy_model

    new_folder(output)
    recover: dict[str, Any] | bool = False
    if recover_steps is not None:
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
        recover = {"max_steps": recover_steps, "batch_size": batch_size, "resume": resume, **rate}
    elif resume or learning_rate is not None:
        raise typer.BadParameter(
            "they are about a recovery: pass --recover-steps", param_hint="--resume, --learning-rate"
        )
    loaded: Any = models.load(model, models.task_of(model), pooling)
    folder = checkpoints(output)
    with in_options(folder):
        made = loaded.prune(
            share,
            layers=layers,
            heads=heads,
            feed_forward=feed_forward,
            block=block,
            data=data,
            eval=held_out,
            task=task,
            columns=columns(column),
            recover=recover,
            max_drop=max_drop(limit),
            seed=seed,
            output_dir=folder,
        )
    copy_model(made.name_or_path, output)
    step: dict[str, Any] = made.compressed[-1]
    found = step["made"]
    print(
        f"{loaded.model_name}: {found['share_of_encoder']:.1%} of the encoder's parameters and "
        f"{found['share_of_model']:.1%} of the whole model's are gone"
    )
    for one in step["metrics"]:
        print(f"  {one['name']}: {_told(one['before'])} before, {_told(one['after'])} after")
    print(f"Model: {output}")


def _told(value: float | None) -> str:
    """What is not defined is null in a record."""
    return "nan" if value is None else f"{value:.4f}"
