"""``qefficient quantize``: a model compiled to smaller numbers, measured, and saved as a program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient.cli import models
from QEfficient.cli.evaluate import Column, Task, columns
from QEfficient.cli.finetune import new_folder
from QEfficient.cli.options import MaxDrop, max_drop, said_in_options
from QEfficient.tasks.catalogue import TEXT2TEXT_GENERATION, TEXT_GENERATION

To = Annotated[
    str,
    typer.Option(
        help="int8, int8_weights, int4_weights or mxfp6; of models that write text int4_weights, int8_weights, "
        "int4_weights_int8 or int8_weights_int8."
    ),
]
Output = Annotated[Path, typer.Option(file_okay=False, help="The folder that the compiled program goes to.")]
Held = Annotated[Path | None, typer.Option("--eval", help="Held-out rows: metrics on them, before and after.")]
WRITES = (TEXT_GENERATION.name, TEXT2TEXT_GENERATION.name)
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
    kind = models.task_of(model)
    loaded = models.load(model, kind, pooling)
    if kind in WRITES:
        _refuse({"--eval": held_out, "--task": task, "--column": column, "--max-drop": limit, "--seq-len": seq_len})
        with said_in_options():
            made = loaded.quantize(to, texts=models.lines(texts), backend=backend)
        _tell(loaded.model_name, made.compressed[-1])
        print(f"Program: {made.save_pretrained(output)}")
        return
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


def _refuse(given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if value:
            raise typer.BadParameter("models that write text are measured by their texts", param_hint=option)


def _tell(name: str, step: Mapping[str, Any]) -> None:
    """What was measured of a model that writes text."""
    made = step["made"]
    print(f"{name}: {step['told']} on {step['how']['backend']}, {made['bytes'] / 1e6:.1f} MB")
    print(f"  weights: {made['bytes_before'] / 1e6:.1f} MB before, {made['bytes_after'] / 1e6:.1f} MB after")
    if tokens := made.get("tokens"):
        print(f"  tokens as HuggingFace's: {tokens['equal']} of {tokens['compared']}")
        print(f"  first that differs: {tokens['first'] or 'none'}")
    if told := made.get("perplexity"):
        print(f"  perplexity: {told['huggingface']:.3f} before, {told['program']:.3f} after ({told['change']:+.1%})")
