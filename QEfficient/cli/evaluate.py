"""``qefficient evaluate``: how good a model's answers are on a file of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from QEfficient.cli import models
from QEfficient.report import report_path, write_report

Data = Annotated[Path, typer.Argument(metavar="DATA", help="A file of rows: JSONL, JSON, CSV, TSV or parquet.")]
Task = Annotated[str | None, typer.Option(help="What is asked: similarity, retrieval, … Left out: as the columns say.")]
Metric = Annotated[list[str] | None, typer.Option(help="A figure, such as ndcg@10; may be named several times.")]
Column = Annotated[list[str] | None, typer.Option(help="ROLE=NAME, such as text=review; may be named several times.")]
Backend = Annotated[
    str | None, typer.Option(help='Where a model runs that is no program yet; "torch": HuggingFace\'s own model.')
]
Report = Annotated[Path | None, typer.Option(dir_okay=False, help="Also write this HTML page.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")]


def evaluate(
    model: models.Model,
    data: Data,
    task: Task = None,
    metric: Metric = None,
    column: Column = None,
    backend: Backend = None,
    seq_len: models.SeqLen = None,
    report: Report = None,
    as_json: AsJson = False,
    pooling: models.Pooling = None,
) -> None:
    """Metrics of a model on a file of rows, with 95 % intervals."""
    from QEfficient.evaluate.data import read_examples  # numpy, which the commands of the cache do without
    from QEfficient.evaluate.metrics.catalogue import metrics_of

    target = None if report is None else report_path(report)
    rows = read_examples(data, task, columns(column), model_task=models.task_of(model))  # before anything is compiled
    metrics_of(rows.task, metric or None)
    loaded = models.ready(model, backend, seq_len, pooling)
    found = loaded.evaluate(rows, metrics=metric or None)
    print(found.to_json() if as_json else found)
    if target is not None:
        write_report(found, target)
        if not as_json:
            print(f"Report: {report}")


def columns(given: list[str] | None) -> dict[str, str] | None:
    """``["text=review"]`` → ``{"text": "review"}``."""
    found: dict[str, str] = {}
    for one in given or ():
        role, equals, name = one.partition("=")
        if not equals or role in found:
            raise typer.BadParameter(f"{one!r} is not ROLE=NAME, once a role: text=review", param_hint="--column")
        found[role] = name
    return found or None
