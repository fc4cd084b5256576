"""How good the predictions are: cross-validation in which no model, or no kind of model, is both learnt and asked for.

Rows of one model are alike, so folds are made of whole groups. A model's name is the usual group; the stricter ones put
every model of the same architecture into one, since many published models differ in their weights only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from QEfficient.analysis.physics import Vector
from QEfficient.analysis.predictor import BAND, Predictor
from QEfficient.analysis.run import Measurement

GROUPS: Mapping[str, Callable[[Measurement], tuple[object, ...]]] = MappingProxyType(
    {
        "model": lambda one: (one.model,),
        "architecture and task": lambda one: (*_network(one), one.run.vocab_size, one.run.task),
        "architecture": lambda one: (*_network(one), one.run.vocab_size),
        "layers and width": lambda one: _network(one)[1:],
        "model type": lambda one: _network(one)[:1],
    }
)
"""What a fold holds all of, by name; from the mildest to the hardest."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Predictions of runs that the predictor had not seen, beside what was measured.

    Attributes:
        samples_per_second, latency_ms: Predicted, one a measurement.
        relative, relative_latency: Predicted ÷ measured − 1.
        inside, inside_latency: Share of measurements inside of their 80 % band.
    """

    samples_per_second: Vector
    latency_ms: Vector
    relative: Vector
    relative_latency: Vector
    inside: float
    inside_latency: float


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
    logs = np.zeros((4, len(measured)))
    for fold in sorted(set(fold_of.values())):
        held = [index for index, key in enumerate(keys) if fold_of[key] == fold]
        seen = [one for one, key in zip(measured, keys, strict=True) if fold_of[key] != fold]
        logs[:, held] = fit(seen).logs([measured[index].run for index in held])
    rate, rate_sd, latency, latency_sd = logs
    off = rate - np.log([one.samples_per_second for one in measured])
    off_latency = latency - np.log([one.latency_ms for one in measured])
    return Errors(
        np.exp(rate),
        np.exp(latency),
        np.expm1(off),
        np.expm1(off_latency),
        float(np.mean(np.abs(off) < BAND * rate_sd)),
        float(np.mean(np.abs(off_latency) < BAND * latency_sd)),
    )


def _network(one: Measurement) -> tuple[object, ...]:
    return one.run.model_type, one.run.layers, one.run.hidden_size, one.run.intermediate_size
