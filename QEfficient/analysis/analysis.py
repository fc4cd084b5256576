"""Everything that an analysis finds, and what of it is shown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from QEfficient.analysis.figures import costs, lengths, overview, ranges, speed, verification
from QEfficient.analysis.record import (
    BucketCosts,
    CardFit,
    GraphAnalysis,
    Lengths,
    LintFinding,
    ModuleAnalysis,
    Risk,
    RooflinePoint,
    SpeedPoint,
)
from QEfficient.records import Json, Shape
from QEfficient.report import terminal
from QEfficient.report.page import Page


@dataclass(frozen=True, slots=True, repr=False)
class Analysis:
    """Everything that ``model.analyze()`` finds. ``print`` gives it as a table.

    Attributes:
        name: The model's name.
        graph: After transformation.
        buckets: Costs, ascending by bucket.
        lint: Findings, errors first.
        roofline: One point a card and bucket.
        fits: One entry a card and precision.
        model: Before transformation; ``None`` for a saved program, which has no torch module.
        lengths: How given texts fill the buckets.
        risk: fp16 risk, where it was measured.
        predictions: Predicted speed.
        verification: Result of the numeric check as the program's manifest has it.
        versions: Package → version that the analysis was made with, ours first.
        created: UTC time, ISO 8601; with ``versions`` the heading of a report.
    """

    name: str
    graph: GraphAnalysis
    buckets: tuple[BucketCosts, ...]
    lint: tuple[LintFinding, ...] = ()
    roofline: tuple[RooflinePoint, ...] = ()
    fits: tuple[CardFit, ...] = ()
    model: ModuleAnalysis | None = None
    lengths: Lengths | None = None
    risk: Risk | None = None
    predictions: tuple[SpeedPoint, ...] = ()
    verification: Mapping[str, Json] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""

    def page(self) -> Page:
        """What the report and the terminal show of it."""
        longest, weights = self.buckets[-1], costs.weights(self.graph.weights)
        transformation = overview.transformation(self.graph, self.model, self.buckets)
        buckets, roofline = costs.buckets(self.buckets), costs.roofline(self.roofline)
        operators, modules = costs.operators(longest), costs.modules(longest)
        fits, lint, findings = costs.fits(self.fits), overview.lint(self.lint), ranges.findings(self.risk)
        speeds, filled = speed.speed(self.predictions), lengths.lengths(self.lengths)
        checked, worst = verification.verification(self.verification), verification.worst_rows(self.verification)
        tiles = (speed.tile(self.predictions), overview.lint_tile(self.lint), ranges.tile(self.risk))
        return Page(
            name=self.name,
            kind="analysis",
            about=f"{self.model.model_class}, analysed" if self.model else "analysed",
            created=self.created,
            versions=self.versions,
            digest=f"graph {self.graph.digest[:16]}",
            tiles=(*costs.tiles(self.graph, longest, self.fits), *tiles, verification.tile(self.verification)),
            figures=(roofline, ranges.ranges(self.risk), speeds, filled, modules, operators, checked, weights),
            tables=(transformation, buckets, fits, lint, findings, *([worst] if worst.table else [])),
            brief=(
                (transformation, (0, 1, 2)),
                (buckets, (0, 1, 3, 4, 6)),
                (roofline, (0, 1, 2, 3, 4, 5)),
                (speeds, (0, 1, 2, 4, 5)),
                (operators, (0, 1, 2, 3)),
                (weights, (0, 1, 2)),
                (fits, (0, 1, 2, 3, 4)),
                (lint, (0, 1, 2, 3)),
                (findings, (0, 1, 2, 4)),
                (checked, (0, 1, 2)),
                (filled, (0, 1, 2, 3, 4)),
            ),
        )

    def show(self) -> None:
        """Prints the table, in colour where the terminal or notebook has any."""
        terminal.show(self.page())

    def __str__(self) -> str:
        return terminal.text(self.page())

    def __repr__(self) -> str:
        parameters, buckets = self.graph.parameters, len(self.buckets)
        return f"<Analysis of {self.name!r}: {parameters:,} parameters, {buckets} buckets; print it for the table>"

    def to_json(self) -> str:
        """All of it as a JSON object, one field an entry; text keys for a histogram's lengths."""
        return json.dumps(_plain(self), allow_nan=False)


def _plain(value: Any) -> Json:
    """Records → dicts; numbers that JSON has no form for → text."""
    if isinstance(value, Shape):  # the names that programs read
        return {"length": value.length, "batch": value.batch, "sizes": _plain(value.sizes)}
    if dataclasses.is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and value - value != 0.0:  # Inf and NaN
        return str(value)
    return value
