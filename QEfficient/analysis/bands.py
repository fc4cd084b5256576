"""How wide a band has to be to hold four cases of five, learnt from networks that were left out.

A Gaussian process says how sure it is, given that its idea of likeness is right. Whether it is shows only where it has
to predict what it has not seen. So everything is fitted again without each kind of network (its layers and widths), the
kind is predicted, and the errors are put in order, in standard deviations: what four fifths of them stay below is the
half width for a kind that was not measured. The same is done with one model left out at a time, for models of a kind
that was measured, and with one type, for new types of known sizes.

Rows of a model are alike, so each model counts once. A share that is found on few groups is expected to be less on the
next one, so the share that is asked for is a little more: four fifths of all groups and one (conformal prediction).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from QEfficient.analysis.physics import Vector
from QEfficient.analysis.regression import Regression, misses
from QEfficient.analysis.run import Measurement, Run

Pair = tuple[float, float]
Mask = NDArray[np.bool_]

SHARE = 0.8
NORMAL = 1.2816
"""Standard deviations on either side that hold 80 % of a normal distribution."""


def kind(run: Run) -> tuple[int, int, int]:
    """Layers and widths: what is left out together."""
    return run.layers, run.hidden_size, run.intermediate_size


class Widths:
    """Half of a band, for the rate and for latency, in the predictor's standard deviations; found on first use.

    Few kinds and types were measured, and they are unlike in size. So they may widen a band, and never narrow it below
    what the Gaussian process says, or below that of a kind that was measured.

    Args:
        measured: What was fitted to.
        fitted: The fit.
    """

    def __init__(self, measured: Sequence[Measurement], fitted: Regression) -> None:
        self._measured, self._fitted = measured, fitted
        self._models = [one.model for one in measured]
        self._kinds = [kind(one.run) for one in measured]
        self._types = [one.run.model_type for one in measured]

    @cached_property
    def seen(self) -> Pair:
        """For a model whose layers and widths were measured, in a model of its type."""
        kept = _shared(self._kinds, self._models) & _shared(self._types, self._models)
        return self._hold(self._fitted.left_out(self._models), kept, self._models)

    @cached_property
    def new_kind(self) -> Pair:
        """For layers and widths that were not measured: half a second, since each kind is left out once."""
        everything = np.ones(len(self._measured), dtype=bool)
        return self._at_least(self._hold(self._without(self._kinds), everything, self._kinds))

    @cached_property
    def new_type(self) -> Pair:
        """For a type that was not measured, of layers and widths that were; as slow."""
        kept = _shared(self._kinds, self._types)
        return self._at_least(self._hold(self._without(self._types), kept, self._types))

    def _at_least(self, found: Pair) -> Pair:
        rate, latency = (max(mine, seen, NORMAL) for mine, seen in zip(found, self.seen, strict=True))
        return rate, latency

    def _hold(self, found: tuple[Vector, Vector], kept: Mask, groups: Sequence[object]) -> Pair:
        """What holds the share of these rows, a little more where the groups are few."""
        rows = [int(row) for row in np.flatnonzero(kept)]
        models = [self._models[row] for row in rows]
        share = SHARE * (1 + 1 / max(len({groups[row] for row in rows}), 1))
        rate, latency = (quantile(each[rows], models, share) for each in found)
        return rate, latency

    def _without(self, groups: Sequence[object]) -> tuple[Vector, Vector]:
        """How far off each row is, in standard deviations, fitted to the other groups; 0 where there is no other."""
        off, off_latency = np.zeros(len(groups)), np.zeros(len(groups))
        names = list(dict.fromkeys(groups))
        for name in names if len(names) > 1 else ():
            held = [index for index, group in enumerate(groups) if group == name]
            rest = [one for one, group in zip(self._measured, groups, strict=True) if group != name]
            asked = [self._measured[index] for index in held]
            logs = Regression(rest, *self._fitted.scales).logs([one.run for one in asked])
            rate, latency = misses(logs, asked)
            off[held], off_latency[held] = np.abs(rate) / logs.rate_sd, np.abs(latency) / logs.latency_sd
        return off, off_latency


def quantile(values: Vector, models: Sequence[str], share: float) -> float:
    """The value that this share stays at or below, each model counted once; of none, that of a normal distribution."""
    if not len(values):
        return NORMAL
    rows = Counter(models)
    weights = [1 / rows[model] for model in models]
    # a little less, so that rounding of the weights' sum does not make it the next value
    return float(np.quantile(values, max(min(share, 1.0) - 1e-9, 0.0), weights=weights, method="inverted_cdf"))


def _shared(keys: Sequence[object], groups: Sequence[object]) -> Mask:
    """Rows whose key also occurs in another group."""
    seen = Counter(key for key, _ in set(zip(keys, groups, strict=True)))
    return np.array([seen[key] > 1 for key in keys])
