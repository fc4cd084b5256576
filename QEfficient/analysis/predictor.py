"""Predicted speed of an encoder on a card: a formula for where the time goes, and what measurements add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import nan
from typing import Any, Self

import numpy as np

from QEfficient.analysis import physics
from QEfficient.analysis.cards import CARDS, Card
from QEfficient.analysis.physics import STANDARD, Constants, Vector
from QEfficient.analysis.residual import RATE, TAIL, Residual, Scales
from QEfficient.analysis.run import Measurement, Run, measurements, parse
from QEfficient.errors import UsageError, nearest

BAND = 1.2816
"""Standard deviations on either side that hold 80 % of a normal distribution."""
WIDER = 1.5
"""How much wider a band is where a reason says that the run lies outside of what was measured."""


class Estimate(float):
    """A number with its 80 % band.

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
    """The formula and both residuals, fitted to measurements.

    Args:
        measured: At least a few dozen.
        rate, tail: How alike the errors of two runs are.
    """

    def __init__(self, measured: Sequence[Measurement], rate: Scales = RATE, tail: Scales = TAIL) -> None:
        runs = [one.run for one in measured]
        rates = np.array([one.samples_per_second for one in measured])
        self.constants: Constants = physics.fit(runs, rates)
        errors = np.log(rates) - physics.log_rate(self.constants, physics.work(runs))
        self._rate = Residual(runs, errors, rate)
        tails = np.log([one.latency_ms for one in measured]) - log_mean_latency(runs, np.log(rates))
        self._tail_mean = float(np.median(tails))
        self._tail = Residual(runs, tails - self._tail_mean, tail)
        self._seen = Seen(runs)

    def logs(self, runs: Sequence[Run], card: Card = STANDARD) -> tuple[Vector, Vector, Vector, Vector]:
        """Logarithms of samples a second and of latency in ms, each followed by its standard deviation."""
        error, variance = self._rate.at(runs)
        rate = physics.log_rate(self.constants, physics.work(runs), card) + error
        tail, more = self._tail.at(runs)
        latency = log_mean_latency(runs, rate) + self._tail_mean + tail
        return rate, np.sqrt(variance), latency, np.sqrt(variance + more)

    def predict(self, runs: Sequence[Run], card: Card = STANDARD) -> list[Prediction]:
        """A prediction for each run."""
        columns = self.logs(runs, card)
        made = []
        for run, rate, rate_sd, latency, latency_sd in zip(runs, *columns, strict=True):
            reasons = self._seen.reasons(run, card)
            width = BAND * (WIDER if reasons else 1.0)
            made.append(
                Prediction(_estimate(rate, rate_sd * width), _estimate(latency, latency_sd * width), reasons, card.name)
            )
        return made


class Seen:
    """What was measured, to say what lies outside.

    Args:
        runs: What was measured.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._types = {run.model_type for run in runs}
        self._lengths = sorted({run.seq_len for run in runs})
        self._batches = {length: max(r.batch_size for r in runs if r.seq_len == length) for length in self._lengths}
        names = ("layers", "hidden_size", "intermediate_size", "vocab_size", "set_size")
        self._ranges = {name: _range([getattr(run, name) for run in runs]) for name in names}

    def reasons(self, run: Run, card: Card = STANDARD) -> tuple[str, ...]:
        """Why a run lies outside of what was measured."""
        found = []
        if card.name != STANDARD.name:
            part = f"one of its {card.socs} SoCs, " if card.socs > 1 else ""
            found.append(f"card {card.name}: {part}scaled from the Standard card by peak rate, memory and lanes")
        if run.model_type not in self._types:
            found.append(f"model_type {run.model_type} was not measured; it counts as a plain encoder of these sizes")
        if run.task not in physics.KNOWN_TASKS:
            found.append(f"task {run.task} was not measured; it counts as the encoder alone")
        if run.seq_len not in self._lengths:
            found.append(f"seq_len {run.seq_len} was not measured, only {', '.join(map(str, self._lengths))}")
        most = self._batches.get(run.seq_len, max(self._batches.values()))
        if run.batch_size > most:
            found.append(f"batch_size {run.batch_size} at seq_len {run.seq_len} was not measured, only up to {most}")
        for name, (low, high) in self._ranges.items():
            value = getattr(run, name)
            if not low <= value <= high:
                found.append(f"{name} {value} lies outside of {low} to {high}, what was measured")
        return tuple(found)


def predict(row: Mapping[str, object], card: str = STANDARD.name) -> Prediction:
    """Predicts throughput and latency of one row of the table of measurements.

    Args:
        row: The table's columns ``model_type``, ``layers``, ``hidden_size``, ``attention_heads``,
            ``intermediate_size``, ``vocab_size``, ``task``, ``batch_size``, ``seq_len``, ``num_cores``, ``instances``,
            ``ols``, ``mos``, ``multicast_weights``, ``set_size``; values as numbers or as text, ``ols`` and ``mos``
            empty where the compiler decides. ``model`` and ``objective`` make no difference.
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
    for card in CARDS:
        if card.name == name:
            return card
    names = [card.name for card in CARDS]
    raise UsageError(
        f"There is no such card.{nearest(str(name), names)}",
        got=f"card={name!r}",
        allowed=", ".join(map(repr, names)),
        do="name one of these",
    )


def log_mean_latency(runs: Sequence[Run], log_rate: Vector) -> Vector:
    """Logarithm of the mean latency in ms: by Little's law, samples in flight over samples a second."""
    in_flight: Vector = np.log([1e3 * run.in_flight for run in runs])
    return in_flight - log_rate


def _estimate(log: float, half: float) -> Estimate:
    return Estimate(*(float(np.exp(log + shift)) for shift in (0.0, -half, half)))


def _range(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)
