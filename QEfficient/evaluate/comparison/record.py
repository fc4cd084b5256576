"""Several models on one data set, side by side: the record, and the forms in which it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.evaluate.comparison.disagreement import Disagreement
from QEfficient.evaluate.comparison.speed import Speed
from QEfficient.evaluate.drawn import printed, tables
from QEfficient.evaluate.metrics.significance import PairedDifference
from QEfficient.evaluate.record import MetricValue, finite
from QEfficient.records import Json

if TYPE_CHECKING:
    from rich.console import Group

    from QEfficient.report.page import Page


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a model beside its answers. What is not known stays away from the table.

    Attributes:
        speed: From :func:`QEfficient.evaluate.comparison.speed.measure_speeds`.
        disk: Bytes of its files.
        memory: Bytes of the weights that it holds while it runs. What a process needs beside them (activations, the
            runtime itself) can't be told apart in one process that holds several models, so that it is not counted.
        lineage: What it was trained from, how long, and the main metric on held-out rows before and after, where known:
            ``"fine-tuned from MiniLM, 1 epoch on 8057 rows"``, say.
    """

    speed: Speed | None = None
    disk: int | None = None
    memory: int | None = None
    lineage: str | None = None


@dataclass(frozen=True, slots=True, eq=False)  # a confusion matrix has no truth value
class ComparedModel:
    """One row of a comparison.

    Attributes:
        name: Of the model; no two rows have the same.
        ran: What ran it: ``"torch fp32"``, ``"onnxruntime int8"``.
        metrics: One a metric, the main one first.
        differences: Metric → how much it differs from the first row's; empty for the first row itself, and a metric
            without a value is left out. ``p`` is as that of one comparison alone.
        adjusted: Metric → ``p``, corrected for the number of models that are compared with the first (Holm).
        gained, lost: Rows that the first model had wrong and this one has right, and the other way round; ``None`` for
            the first model, and where rows are not right or wrong.
        measured: Speed, size and origin.
        front: Whether no model is at least as good in both the main metric and speed, and better in one; ``None``
            where one of the two is not known.
        confusion: Of a classification, what is right (rows) against what was answered (columns).
    """

    name: str
    ran: str
    metrics: tuple[MetricValue, ...]
    differences: Mapping[str, PairedDifference] = field(default_factory=dict)
    adjusted: Mapping[str, float] = field(default_factory=dict)
    gained: int | None = None
    lost: int | None = None
    measured: Measured = Measured()
    front: bool | None = None
    confusion: NDArray[np.int64] | None = None

    def to_dict(self) -> dict[str, Json]:
        """For JSON: what is not known, or not defined, is null."""
        speed = self.measured.speed
        return {
            "model": self.name,
            "ran": self.ran,
            "lineage": self.measured.lineage,
            "metrics": {one.name: one.to_dict() for one in self.metrics},
            "differences": {
                name: {
                    "value": finite(one.value),
                    "low": finite(one.low),
                    "high": finite(one.high),
                    "p": finite(one.p),
                    "p_holm": finite(self.adjusted[name]),
                }
                for name, one in self.differences.items()
            },
            "gained": self.gained,
            "lost": self.lost,
            "disk_bytes": self.measured.disk,
            "weight_bytes": self.measured.memory,
            "speed": speed and speed.to_dict(),
            "front": self.front,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ModelComparison:
    """Several models on one data set. ``print`` gives it as a table.

    Attributes:
        task: The task's name.
        data, digest: What the data came from, and the SHA-256 of its values.
        rows: How many rows were run.
        seed, resamples: Of the bootstrap.
        models: One a model, in the order in which they were given; the others are compared with the first.
        labels: Names of the labels of a classification.
        disagreements: The rows on which they disagree most.
        machine: The processor's name.
        cpus: CPUs that the process might use.
        versions: Package → version.
        created: UTC time, ISO 8601.
    """

    task: str
    data: str
    digest: str
    rows: int
    seed: int
    resamples: int
    models: tuple[ComparedModel, ...]
    labels: tuple[str, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    machine: str = ""
    cpus: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        names = ", ".join(one.name for one in self.models)
        return f"<ModelComparison of {names} on {self.data}: {self.rows} rows; print it for the table>"

    def __str__(self) -> str:
        return printed.text(self)

    def __rich__(self) -> Group:
        return printed.comparison_parts(self)

    def to_dict(self) -> dict[str, Json]:
        """All of it, for JSON: what is not known, or not defined, is null."""
        return {
            "task": self.task,
            "data": self.data,
            "digest": self.digest,
            "rows": self.rows,
            "seed": self.seed,
            "resamples": self.resamples,
            "models": [one.to_dict() for one in self.models],
            "labels": list(self.labels),
            "disagreements": [one.to_dict() for one in self.disagreements],
            "machine": self.machine,
            "cpus": self.cpus,
            "versions": dict(self.versions),
            "created": self.created,
        }

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_frame(self) -> Any:
        """One row a model, as a pandas ``DataFrame``; its index is the model's name.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return tables.frame(self)

    def to_markdown(self) -> str:
        """One table, one row a model, and what was run below it."""
        return tables.markdown(self)

    def page(self) -> Page:
        """Plots, the table and the rows of most disagreement; ``report.write_report`` writes it."""
        from QEfficient.evaluate.drawn.pages import comparison_page

        return comparison_page(self)
