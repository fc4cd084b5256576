"""``qefficient prune-vocabulary``: a model with the tokens that texts need, as an ordinary repo."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient.cli import models
from QEfficient.cli.evaluate import Column, columns
from QEfficient.cli.finetune import Output, new_folder
from QEfficient.cli.options import MaxDrop, max_drop, said_in_options

Texts = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Texts such as the model will read: JSONL, JSON, CSV, TSV or parquet."),
]
Held = Annotated[
    Path | None,
    typer.Option("--eval", help="Held-out texts: what is lost of them; with --task metrics too. Left out: a tenth."),
]
Keep = Annotated[
    list[str] | None, typer.Option(help="A word or text whose tokens stay in any case; may be named several times.")
]
Lost = Annotated[
    float | None,
    typer.Option(help="The share of held-out texts that may lose a token; more is refused. Left out: 0.1 warns."),
]
Task = Annotated[str | None, typer.Option(help="What the rows of --eval are for, where metrics are to be measured.")]


def prune_vocabulary(
    model: models.Model,
    data: Texts,
    output: Output,
    held_out: Held = None,
    keep: Keep = None,
    min_count: Annotated[int, typer.Option(help="How often a token stands in the texts at least.")] = 1,
    size: Annotated[int | None, typer.Option(help="The most tokens to keep, of those the most frequent.")] = None,
    max_lost: Lost = None,
    task: Task = None,
    column: Column = None,
    limit: MaxDrop = None,
    pooling: models.Pooling = None,
) -> None:
    """Keep the tokens that texts need: a smaller model, and no faster one."""
    from QEfficient.compress.vocabulary.report import VocabularyReport
    from QEfficient.train.folder import MODEL_FOLDER
    from QEfficient.train.save import copy_model

    new_folder(output)
    loaded: Any = models.load(model, models.task_of(model), pooling)
    output.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.resolve().parent, prefix=".vocabulary-") as aside, said_in_options():
        made = loaded.prune_vocabulary(
            data,
            eval=held_out,
            keep=keep or (),
            min_count=min_count,
            size=size,
            max_lost=max_lost,
            task=task,
            columns=columns(column),
            max_drop=max_drop(limit),
            output_dir=aside,
        )
        step = made.compressed[-1]
        copy_model(Path(aside, MODEL_FOLDER), output)  # of a repo the whole, wherever in it the encoder is
    print(f"{loaded.model_name}: {step['told']}")
    lines = [*str(VocabularyReport.of(step["made"])).splitlines()]
    lines += [f"{one['name']}: {one['before']:.4f} before, {one['after']:.4f} after" for one in step["metrics"]]
    print("".join(f"  {line}\n" for line in lines) + f"Model: {output}")
