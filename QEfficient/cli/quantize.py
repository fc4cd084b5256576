"""``qefficient quantize``: a model compiled to smaller numbers, measured, and saved as a program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient.cli import models
from QEfficient.cli.evaluate import Column, Task, columns
from QEfficient.cli.finetune import new_folder
from QEfficient.cli.options import MaxDrop, max_drop, said_in_options

To = Annotated[str, typer.Option(help="int8, int8_weights, int4_weights or mxfp6.")]
Output = Annotated[Path, typer.Option(file_okay=False, help="The folder that the compiled program goes to.")]
Held = Annotated[Path | None, typer.Option("--eval", help="Held-out rows: metrics on them, before and after.")]
Backend = Annotated[str | None, typer.Option(help="onnxruntime, openvino or emulator. Left out: as compile does.")]


def quantize(
    model: models.Model,
    output: Output,
    to: To,
    texts: models.Texts = None,
    held_out: Held = None,
    task: Task = None,
    column: Column = None,
    limit: MaxDrop = None,
    backend: Backend = None,
    seq_len: models.SeqLen = None,
    pooling: models.Pooling = None,
) -> None:
    """Compile a model to smaller numbers, and keep it if it is still good enough."""
    new_folder(output)
    given: dict[str, Any] = {} if seq_len is None else {"seq_len": models.lengths(seq_len)}
    loaded = models.load(model, models.task_of(model), pooling)
    with said_in_options():
        made = loaded.quantize(
            to,
            texts=models.lines(texts),
            eval=held_out,
            task=task,
            columns=columns(column),
            backend=backend,
            max_drop=max_drop(limit),
            **given,
        )
    step: dict[str, Any] = made.compressed[-1]
    print(f"{loaded.model_name}: {step['told']} on {step['how']['backend']}, {step['made']['bytes'] / 1e6:.1f} MB")
    for one in step["metrics"]:
        print(f"  {one['name']}: {one['before']:.4f} before, {one['after']:.4f} after")
    print(f"Program: {made.save_pretrained(output)}")
