"""``qefficient compare``: several models on the same rows, side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from QEfficient.cli import models
from QEfficient.cli.evaluate import AsJson, Backend, Column, Metric, Report, Task, columns
from QEfficient.report import report_path, write_report

Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="The others are compared with the first.")]
Data = Annotated[str, typer.Option("--data", help="A file of rows: JSONL, JSON, CSV, TSV or parquet.")]


def compare(
    names: Models,
    data: Data,
    task: Task = None,
    metric: Metric = None,
    column: Column = None,
    backend: Backend = None,
    seq_len: models.SeqLen = None,
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """One table of several models: metrics with intervals, what differs by more than chance, speed and size."""
    from QEfficient.evaluate import compare as compare_models
    from QEfficient.evaluate.data import read_examples  # numpy, which the commands of the cache do without
    from QEfficient.evaluate.metrics.catalogue import metrics_of

    target = None if report is None else report_path(report)
    rows = read_examples(data, task, columns(column), model_task=models.task_of(names[0]))
    metrics_of(rows.task, metric or None)
    loaded = [models.ready(name, backend, seq_len, None) for name in names]
    found = compare_models(loaded, rows, metrics=metric or None)
    print(found.to_json() if as_json else found)
    if target is not None:
        write_report(found, target)
        if not as_json:
            print(f"Report: {report}")
