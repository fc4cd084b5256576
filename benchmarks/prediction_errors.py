"""How good the predictions are: cross-validation in which no model, or no kind of model, is both learnt and asked for.

Rows of one model are alike, so folds are made of whole groups. A model's name is the usual group; the stricter ones put
every model of the same architecture into one, since many published models differ in their weights only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from QEfficient.analysis.bands import kind
from QEfficient.analysis.physics import Vector
from QEfficient.analysis.predictor import Predictor
from QEfficient.analysis.regression import Logs, misses
from QEfficient.analysis.run import Measurement

Mask = NDArray[np.bool_]

GROUPS: Mapping[str, Callable[[Measurement], tuple[object, ...]]] = MappingProxyType(
    {
        "model": lambda one: (one.model,),
        "architecture and task": lambda one: (*_network(one), one.run.vocab_size, one.run.task),
        "architecture": lambda one: (*_network(one), one.run.vocab_size),
        "layers and width": lambda one: kind(one.run),
        "model type": lambda one: _network(one)[:1],
    }
)
"""What a fold holds all of, by name; from the mildest to the hardest."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Predictions of runs that the predictor had not seen, beside what was measured.

    Attributes:
        models: Name of the model, one a measurement.
        samples_per_second, latency_ms: Predicted, one a measurement.
        relative, relative_latency: Predicted ÷ measured − 1.
        covered, covered_latency: Whether the measurement lies inside of its 80 % band.
    """

    models: tuple[str, ...]
    samples_per_second: Vector
    latency_ms: Vector
    relative: Vector
    relative_latency: Vector
    covered: Mask
    covered_latency: Mask

    @property
    def inside(self) -> tuple[float, float]:
        """Share of measurements inside of their band, of the rate and of latency; each model counts once."""
        rows = Counter(self.models)
        weights = np.array([1 / rows[model] for model in self.models]) / len(rows)
        return float(weights @ self.covered), float(weights @ self.covered_latency)

    @property
    def inside_rows(self) -> tuple[float, float]:
        """The same; each measurement counts once."""
        return float(np.mean(self.covered)), float(np.mean(self.covered_latency))


def percentiles(errors: Vector) -> tuple[float, float, float]:
    """Median, 90th and 95th percentile of the size of relative errors."""
    found = np.percentile(np.abs(errors), [50, 90, 95])
    return float(found[0]), float(found[1]), float(found[2])


def cross_validate(
    measured: Sequence[Measurement],
    group: str = "model",
    folds: int | None = 10,
    seed: int = 0,
    fit: Callable[[Sequence[Measurement]], Predictor] = Predictor,
) -> Errors:
    """Predicts every measurement from those of other folds.

    Nothing of a fold is used for it, its bands included: how wide these are is found by leaving out groups of the
    others.

    Args:
        measured: All of them.
        group: A key of :data:`GROUPS`: what is never split between folds.
        folds: How many; ``None`` leaves one group out at a time.
        seed: Of the folds.
        fit: Makes a predictor of the measurements that it may see.
    """
    keys = [repr(GROUPS[group](one)) for one in measured]
    names = sorted(set(keys))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {name: int(place) % (folds or len(names)) for name, place in zip(names, order, strict=True)}
    logs, halves = np.zeros((4, len(measured))), np.zeros((2, len(measured)))
    for fold in sorted(set(fold_of.values())):
        held = [index for index, key in enumerate(keys) if fold_of[key] == fold]
        fitted = fit([one for one, key in zip(measured, keys, strict=True) if fold_of[key] != fold])
        runs = [measured[index].run for index in held]
        found = fitted.regression.logs(runs)
        logs[:, held], halves[:, held] = found, fitted.halves(runs, found)
    rate, _, latency, _ = logs
    off, off_latency = misses(Logs(*logs), measured)
    return Errors(
        tuple(one.model for one in measured),
        np.exp(rate),
        np.exp(latency),
        np.expm1(off),
        np.expm1(off_latency),
        np.abs(off) <= halves[0],
        np.abs(off_latency) <= halves[1],
    )


def _network(one: Measurement) -> tuple[object, ...]:
    return (one.run.model_type, *kind(one.run))
