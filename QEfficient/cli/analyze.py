"""``qefficient analyze``: what a model costs and how it fits a card, in the terminal and as a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from QEfficient.cli import models


def analyze(
    model: models.Model,
    seq_len: models.SeqLen = None,
    texts: models.Texts = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Also write this HTML page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
    task: models.TaskOption = "feature-extraction",
    pooling: models.Pooling = None,
) -> None:
    """Parameters, FLOPs, memory, roofline, lint and predicted speed of a model. Needs no card."""
    loaded = models.load(model, task, pooling)
    found = loaded.analyze(seq_len=models.lengths(seq_len), texts=models.lines(texts), report=report)
    if as_json:
        print(found.to_json())
    else:
        found.show()
    if report is not None and not as_json:
        print(f"Report: {report}")
