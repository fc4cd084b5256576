"""The mean of a prediction and its standard deviation: the formula, and a Gaussian process on what it leaves over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from QEfficient.analysis import physics
from QEfficient.analysis.cards import Card
from QEfficient.analysis.physics import STANDARD, Constants, Vector
from QEfficient.analysis.residual import RATE, TAIL, Residual, Scales
from QEfficient.analysis.run import Measurement, Run


class Logs(NamedTuple):
    """Logarithms of samples a second and of latency in ms, each with its standard deviation; an entry a run."""

    rate: Vector
    rate_sd: Vector
    latency: Vector
    latency_sd: Vector


class Regression:
    """The formula and both residuals, fitted to measurements.

    Args:
        measured: At least a few dozen.
        rate, tail: How alike the errors of two runs are.
    """

    def __init__(self, measured: Sequence[Measurement], rate: Scales = RATE, tail: Scales = TAIL) -> None:
        runs = [one.run for one in measured]
        rates = np.array([one.samples_per_second for one in measured])
        self.constants: Constants = physics.fit(runs, rates)
        self.scales = (rate, tail)
        errors = np.log(rates) - physics.log_rate(self.constants, physics.work(runs))
        self._rate = Residual(runs, errors, rate)
        tails = np.log([one.latency_ms for one in measured]) - log_mean_latency(runs, np.log(rates))
        self._tail_mean = float(np.median(tails))
        self._tail = Residual(runs, tails - self._tail_mean, tail)

    def logs(self, runs: Sequence[Run], card: Card = STANDARD) -> Logs:
        """What is expected of each run."""
        error, variance = self._rate.at(runs)
        rate = physics.log_rate(self.constants, physics.work(runs), card) + error
        tail, more = self._tail.at(runs)
        latency = log_mean_latency(runs, rate) + self._tail_mean + tail
        return Logs(rate, np.sqrt(variance), latency, np.sqrt(variance + more))

    def left_out(self, groups: Sequence[object]) -> tuple[Vector, Vector]:
        """How far off the fitted runs are when those of their group are not learnt from, in standard deviations.

        Of the rate, and of latency. The formula's constants stay: no group of a few rows moves them.
        """
        error, variance = self._rate.left_out(groups)
        tail, more = self._tail.left_out(groups)
        return np.abs(error) / np.sqrt(variance), np.abs(tail - error) / np.sqrt(variance + more)


def misses(logs: Logs, measured: Sequence[Measurement]) -> tuple[Vector, Vector]:
    """Logarithm of predicted over measured, of the rate and of latency."""
    return (
        logs.rate - np.log([one.samples_per_second for one in measured]),
        logs.latency - np.log([one.latency_ms for one in measured]),
    )


def log_mean_latency(runs: Sequence[Run], log_rate: Vector) -> Vector:
    """Logarithm of the mean latency in ms: by Little's law, samples in flight over samples a second."""
    in_flight: Vector = np.log([1e3 * run.in_flight for run in runs])
    return in_flight - log_rate
