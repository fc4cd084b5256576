"""How good one model is on one data set: the record, and the forms in which it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from QEfficient.evaluate.drawn import printed
from QEfficient.evaluate.record import MetricValue, Outcome
from QEfficient.records import Json

if TYPE_CHECKING:
    from rich.console import Group

    from QEfficient.report.page import Page


@dataclass(frozen=True, slots=True, repr=False, eq=False)  # it holds arrays, which have no truth value
class Evaluation:
    """How good one model is on one data set. ``print`` gives it as a table.

    Attributes:
        model: Its name, as the caller named it.
        ran: What ran it: ``"torch fp32"``, ``"onnxruntime fp32"``, ``"emulator fp16"``, ``"sentence-transformers"``.
        task: As in :class:`Examples`.
        metrics: One a metric, the task's main one first.
        outcome: What it answered, row by row.
        rows: How many rows were run.
        digest: Of the data.
        data: What the data came from.
        seed, resamples: Of the bootstrap.
        versions: Package → version, of what ran.
    """

    model: str
    ran: str
    task: str
    metrics: tuple[MetricValue, ...]
    outcome: Outcome
    rows: int
    digest: str
    data: str
    seed: int
    resamples: int
    versions: Mapping[str, str]

    def __getitem__(self, name: str) -> MetricValue:
        for one in self.metrics:
            if one.name == name:
                return one
        raise KeyError(f"{name!r}, of {', '.join(one.name for one in self.metrics)}")

    def __contains__(self, name: str) -> bool:
        return any(one.name == name for one in self.metrics)

    def __repr__(self) -> str:
        return f"<Evaluation of {self.model} on {self.data}: {', '.join(map(str, self.metrics))}>"

    def __str__(self) -> str:
        return printed.text(self)

    def __rich__(self) -> Group:
        return printed.evaluation_parts(self)

    def to_dict(self) -> dict[str, Json]:
        """Everything but the rows, for JSON: what is not defined is null."""
        return {
            "model": self.model,
            "ran": self.ran,
            "task": self.task,
            "metrics": {one.name: one.to_dict() for one in self.metrics},
            "rows": self.rows,
            "data": self.data,
            "digest": self.digest,
            "seed": self.seed,
            "resamples": self.resamples,
            "versions": dict(self.versions),
        }

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def page(self) -> Page:
        """Its figures with their intervals, and the confusion matrix of a classification.

        :func:`QEfficient.report.write_report` writes it.
        """
        from QEfficient.evaluate.drawn.pages import evaluation_page

        return evaluation_page(self)
