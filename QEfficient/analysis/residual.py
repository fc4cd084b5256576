"""What the formula leaves over, learnt from the measurements: a Gaussian process on the logarithm of the error.

Runs that are alike in batch, cores, instances, queue, width, length and output have like errors, and so have runs with
the same compiler options. Far from every measurement the error is unknown: the formula stands alone and the band is
wide; how wide in these standard deviations is learnt in :mod:`QEfficient.analysis.bands`. Layers, inner width and
vocabulary are no part of the distance, so the formula alone says what they cost.

The scales are settings, found once by maximum likelihood (``python -m benchmarks.predictor --tune``), and rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.analysis.physics import Vector, outputs
from QEfficient.analysis.run import Run

Matrix = NDArray[np.float64]

LENGTHS = {
    "batch_size": 2.5,
    "num_cores": 4.5,
    "instances": 1.5,
    "set_size": 2.0,
    "hidden_size": 1.25,
    "seq_len": 2.0,
    "output": 1.5,
}
"""How far apart two runs are alike, in doublings of each quantity; ``set_size`` in steps between 1 and 2."""


@dataclass(frozen=True, slots=True)
class Scales:
    """Standard deviations of a logarithm, so 0.04 is about four per cent.

    Attributes:
        alike: Of the error that like runs share.
        kind: Of the error that all runs of one model type share.
        ols, mos, multicast: Of what each compiler option changes.
        noise, host_noise: Of one measurement; the second with a vocabulary head, whose megabytes go to the host.
        lengths: As :data:`LENGTHS`.
    """

    alike: float
    kind: float
    ols: float
    mos: float
    multicast: float
    noise: float
    host_noise: float
    lengths: tuple[float, ...] = tuple(LENGTHS.values())

    @property
    def variance(self) -> float:
        """Of the error of a run about which nothing is known, its measurement's noise apart."""
        return self.alike**2 + self.kind**2 + self.ols**2 + self.mos**2 + self.multicast**2


RATE = Scales(alike=0.17, kind=0.04, ols=0.01, mos=0.025, multicast=0.015, noise=0.05, host_noise=0.05)
"""For samples a second."""
TAIL = Scales(alike=0.025, kind=0.005, ols=0.003, mos=0.004, multicast=0.01, noise=0.025, host_noise=0.09)
"""For the 95th percentile of latency over its mean."""


def place(runs: Sequence[Run], lengths: Sequence[float] = tuple(LENGTHS.values())) -> Matrix:
    """Each run as a point; like runs are close. One row a run, one column an entry of :data:`LENGTHS`."""
    points = [
        (
            np.log2(run.batch_size),
            np.log2(run.num_cores),
            np.log2(run.instances),
            min(run.set_size, 2),
            np.log2(run.hidden_size),
            np.log2(run.seq_len),
            np.log2(1 + run.batch_size * outputs(run) / 10e6),
        )
        for run in runs
    ]
    scaled: Matrix = np.array(points) / np.array(lengths)
    return scaled


def choices(runs: Sequence[Run]) -> NDArray[np.int64]:
    """The compiler options of each run as small numbers: ``ols``, ``mos`` against the cores, multicast."""
    mos = [0 if r.mos is None else 1 if r.mos == 1 else 3 if r.mos == r.num_cores else 2 for r in runs]
    return np.array([(r.ols or 0, m, r.multicast_weights) for r, m in zip(runs, mos, strict=True)], dtype=np.int64)


def kernel(left: Sequence[Run], right: Sequence[Run], scales: Scales) -> Matrix:
    """Covariance of the errors of two sets of runs, ``(left, right)``: exponential in their distance."""
    here, there = place(left, scales.lengths), place(right, scales.lengths)
    squares = np.sum(here**2, axis=1)[:, None] + np.sum(there**2, axis=1)[None, :] - 2 * here @ there.T
    found: Matrix = scales.alike**2 * np.exp(-np.sqrt(np.maximum(squares, 0)))
    columns = ((scales.ols, 0), (scales.mos, 1), (scales.multicast, 2))
    mine, yours = choices(left), choices(right)
    for scale, column in columns:
        found += scale**2 * (mine[:, column, None] == yours[None, :, column])
    kinds = [np.array([run.model_type for run in runs]) for runs in (left, right)]
    found += scales.kind**2 * (kinds[0][:, None] == kinds[1][None, :])
    return found


def noise(runs: Sequence[Run], scales: Scales) -> Vector:
    """Variance of one measurement of each run."""
    host = np.array([run.task == "fill-mask" for run in runs])
    return np.where(host, scales.host_noise, scales.noise) ** 2


class Residual:
    """The errors that were measured, and from them those to expect elsewhere.

    Args:
        runs: What was measured.
        errors: Logarithm of measured over computed, one a run.
        scales: How alike errors are.
    """

    def __init__(self, runs: Sequence[Run], errors: Vector, scales: Scales) -> None:
        self._runs, self._scales = tuple(runs), scales
        covariance = kernel(runs, runs, scales) + np.diag(noise(runs, scales))
        self._inverse = np.linalg.inv(covariance)
        self._weights = self._inverse @ errors

    def at(self, runs: Sequence[Run]) -> tuple[Vector, Vector]:
        """Expected error of each run, and the variance of one measurement around it."""
        across = kernel(runs, self._runs, self._scales)
        known = np.einsum("ij,jk,ik->i", across, self._inverse, across, optimize=True)
        return across @ self._weights, np.maximum(self._scales.variance - known, 0) + noise(runs, self._scales)

    def left_out(self, groups: Sequence[object]) -> tuple[Vector, Vector]:
        """Error of each measured run over what the other groups let expect, and the variance that goes with it.

        Args:
            groups: Of each run, which it belongs to.
        """
        errors, variance = np.zeros(len(groups)), np.zeros(len(groups))
        for group in dict.fromkeys(groups):
            held = [index for index, name in enumerate(groups) if name == group]
            covariance = np.linalg.inv(self._inverse[np.ix_(held, held)])  # of these, given all others
            errors[held], variance[held] = covariance @ self._weights[held], np.diag(covariance)
        return errors, variance
