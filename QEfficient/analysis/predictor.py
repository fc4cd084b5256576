"""Predicted speed of an encoder on a card: a formula for where the time goes, and what measurements add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import nan
from typing import Any, Self

import numpy as np

from QEfficient import arguments
from QEfficient.analysis import physics
from QEfficient.analysis.bands import Widths, kind
from QEfficient.analysis.cards import CARDS, Card
from QEfficient.analysis.physics import STANDARD, Vector
from QEfficient.analysis.regression import Logs, Regression
from QEfficient.analysis.residual import RATE, TAIL, Scales
from QEfficient.analysis.run import Measurement, Run, measurements, parse
from QEfficient.errors import UsageError

WIDER = 1.5
"""How much wider a band is on a card, length, batch, task, vocabulary or queue that was not measured. An assumption: no
measurement says it."""
KIND = ("layers", "hidden_size", "intermediate_size")
REST = ("vocab_size", "set_size")


class Estimate(float):
    """A number with its 80 % band (a prediction interval).

    Attributes:
        low, high: Ends of the band.
    """

    low: float
    high: float

    def __new__(cls, value: float, low: float = nan, high: float = nan) -> Self:
        """A float that also holds ``low`` and ``high``; a copy is made of the value, then given its band."""
        made = super().__new__(cls, value)
        made.low, made.high = low, high
        return made

    def __repr__(self) -> str:
        return f"{self:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a card is expected to do. ``prediction["latency_ms"]`` works too, as a row of the table does.

    Attributes:
        samples_per_second: Of all instances of one SoC together.
        latency_ms: 95th percentile of one inference.
        extrapolated: Why this lies outside of what was measured, one sentence each; empty: it does not.
        card: Name of the card.
    """

    samples_per_second: Estimate
    latency_ms: Estimate
    extrapolated: tuple[str, ...] = ()
    card: str = STANDARD.name

    def __getitem__(self, name: str) -> Any:
        return {"samples_per_second": self.samples_per_second, "latency_ms": self.latency_ms}[name]


class Predictor:
    """Regression and prediction intervals ("bands"), fitted to measurements.

    Args:
        measured: At least a few dozen.
        rate, tail: How alike the errors of two runs are.

    Attributes:
        regression: What is expected.
        widths: Half of each band, in standard deviations.
    """

    def __init__(self, measured: Sequence[Measurement], rate: Scales = RATE, tail: Scales = TAIL) -> None:
        self.regression = Regression(measured, rate, tail)
        self.widths = Widths(measured, self.regression)
        self._domain = Domain([one.run for one in measured])

    def halves(self, runs: Sequence[Run], logs: Logs, card: Card = STANDARD) -> tuple[Vector, Vector]:
        """Half of each band of these logarithms, for the rate and for latency."""
        found = np.array([self._half(run, card) for run in runs]).reshape(-1, 2).T
        return found[0] * logs.rate_sd, found[1] * logs.latency_sd

    def predict(self, runs: Sequence[Run], card: Card = STANDARD) -> list[Prediction]:
        """A prediction for each run."""
        logs = self.regression.logs(runs, card)
        columns = (logs.rate, logs.latency, *self.halves(runs, logs, card))
        made = []
        for run, rate, latency, rate_half, latency_half in zip(runs, *columns, strict=True):
            reasons = self._domain.reasons(run, card)
            made.append(Prediction(_estimate(rate, rate_half), _estimate(latency, latency_half), reasons, card.name))
        return made

    def _half(self, run: Run, card: Card) -> tuple[float, float]:
        widths = self.widths
        if self._domain.sizes(run):
            rate, latency = widths.new_kind
        else:
            rate, latency = widths.new_type if self._domain.type(run) else widths.seen
        wider = WIDER if self._domain.setting(run, card) else 1.0
        return rate * wider, latency * wider


class Domain:
    """What was measured (the applicability domain), to say what lies outside.

    Args:
        runs: What was measured.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._types = {run.model_type for run in runs}
        self._kinds = {(kind(run), physics.written_out(run)) for run in runs}
        self._lengths = sorted({run.seq_len for run in runs})
        self._batches = {length: max(r.batch_size for r in runs if r.seq_len == length) for length in self._lengths}
        columns = {name: [getattr(run, name) for run in runs] for name in (*KIND, *REST)}
        self._ranges = {name: (min(column), max(column)) for name, column in columns.items()}

    def reasons(self, run: Run, card: Card = STANDARD) -> tuple[str, ...]:
        """Why a run lies outside of what was measured."""
        return (*self.setting(run, card), *self.type(run), *self.sizes(run))

    def type(self, run: Run) -> tuple[str, ...]:
        """Why the type was not measured."""
        if run.model_type in self._types:
            return ()
        return (f"model_type {run.model_type} was not measured; it counts as a plain encoder of these sizes",)

    def sizes(self, run: Run) -> tuple[str, ...]:
        """Why these layers and widths, or these with such an activation, were not measured."""
        written_out = physics.written_out(run)
        if (kind(run), written_out) in self._kinds:
            return ()
        if (kind(run), not written_out) in self._kinds:
            return (f"networks of these sizes were measured, none with hidden_act {physics.activation(run)}",)
        sizes = " and ".join(f"{name} {getattr(run, name)}" for name in KIND)
        return self._outside(run, KIND) or (f"no network with {sizes} was measured",)

    def setting(self, run: Run, card: Card) -> tuple[str, ...]:
        """Why the rest was not measured. How far off such predictions are could not be tried, as it could for these."""
        found = []
        if card.name != STANDARD.name:
            part = f"one of its {card.socs} SoCs, " if card.socs > 1 else ""
            found.append(f"card {card.name}: {part}scaled from the Standard card by peak rate, memory and lanes")
        if run.task not in physics.KNOWN_TASKS:
            found.append(f"task {run.task} was not measured; it counts as the encoder alone")
        if run.seq_len not in self._lengths:
            found.append(f"seq_len {run.seq_len} was not measured, only {', '.join(map(str, self._lengths))}")
        most = self._batches.get(run.seq_len, max(self._batches.values()))
        if run.batch_size > most:
            found.append(f"batch_size {run.batch_size} at seq_len {run.seq_len} was not measured, only up to {most}")
        return (*found, *self._outside(run, REST))

    def _outside(self, run: Run, names: Sequence[str]) -> tuple[str, ...]:
        found = []
        for name in names:
            (low, high), value = self._ranges[name], getattr(run, name)
            if not low <= value <= high:
                found.append(f"{name} {value} lies outside of {low} to {high}, what was measured")
        return tuple(found)


def predict(row: Mapping[str, object], card: str = STANDARD.name) -> Prediction:
    """Predicts throughput and latency of one row of the table of measurements.

    Args:
        row: The table's columns ``model_type``, ``layers``, ``hidden_size``, ``attention_heads``,
            ``intermediate_size``, ``vocab_size``, ``task``, ``batch_size``, ``seq_len``, ``num_cores``, ``instances``,
            ``ols``, ``mos``, ``multicast_weights``, ``set_size``; values as numbers or as text, ``ols`` and ``mos``
            empty where the compiler decides. ``hidden_act``, ``gated``, ``layer_weights`` and ``layer_inner`` may be
            added, as :class:`~QEfficient.analysis.run.Run` has them. ``model`` and ``objective`` make no difference.
        card: ``"standard"``, ``"pro"`` or ``"ultra"`` (one of its four SoCs); the last two are scaled, never measured.

    Returns:
        Samples a second and milliseconds with their 80 % bands, and the reasons why they are extrapolated, if any.

    Raises:
        UsageError: A column is missing or unusable, or more cores than a SoC has.
    """
    chosen, run = find_card(card), parse(row)
    if run.num_cores * run.instances > chosen.cores:
        raise UsageError(
            f"The run needs more AI cores than one SoC of the card {chosen.name!r} has.",
            got=f"num_cores={run.num_cores} × instances={run.instances}",
            allowed=f"num_cores × instances up to {chosen.cores}",
            do="use fewer cores an instance, or fewer instances",
        )
    return predictor().predict([run], chosen)[0]


@cache
def predictor() -> Predictor:
    """The predictor of all published measurements, fitted on first use (a tenth of a second)."""
    return Predictor(measurements())


def find_card(name: str) -> Card:
    """The card with this name.

    Raises:
        UsageError: There is none.
    """
    cards = {card.name: card for card in CARDS}
    return cards[arguments.one_of("card", name, tuple(cards))]


def _estimate(log: float, half: float) -> Estimate:
    return Estimate(*(float(np.exp(log + shift)) for shift in (0.0, -half, half)))
