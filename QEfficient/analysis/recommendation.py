"""Which options to compile and run with: every feasible setting is predicted, and the best one taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from types import MappingProxyType

import numpy as np

from QEfficient import arguments
from QEfficient.analysis.cards import Card
from QEfficient.analysis.physics import STANDARD
from QEfficient.analysis.predictor import Prediction, Predictor, find_card, predictor
from QEfficient.analysis.run import Run, measurements, parse
from QEfficient.errors import UsageError
from QEfficient.records import Json

OBJECTIVES = ("throughput", "latency", "balanced")
OPTIONS = ("num_cores", "instances", "batch_size", "ols", "mos", "set_size", "multicast_weights")
LARGEST_BATCH = 16
LARGEST_QUEUE = 4


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Options for one model, length and objective.

    Attributes:
        objective: What they are best for.
        card: Name of the card.
        num_cores: AI cores of an instance.
        instances: Copies of the program to run side by side.
        batch_size: Samples of an inference.
        ols, mos: The compiler's options; ``None`` leaves them to it.
        set_size: Inferences in flight for each instance.
        multicast_weights: The compiler's flag.
        prediction: What these are expected to give.
    """

    objective: str
    card: str
    num_cores: int
    instances: int
    batch_size: int
    ols: int | None
    mos: int | None
    set_size: int
    multicast_weights: bool
    prediction: Prediction

    @property
    def compile_options(self) -> dict[str, int | bool]:
        """Keywords for ``compile``: those that shape the program. ``instances`` and ``set_size`` are for running it."""
        found = {name: getattr(self, name) for name in ("num_cores", "batch_size", "ols", "mos")}
        kept: dict[str, int | bool] = {name: value for name, value in found.items() if value is not None}
        return kept | ({"multicast_weights": True} if self.multicast_weights else {})


def recommend(
    facts: Mapping[str, object],
    seq_len: int,
    objective: str = "throughput",
    card: str = STANDARD.name,
    *,
    given: Mapping[str, Json] | None = None,
) -> Recommendation:
    """The options that are expected to be best for a network at one length.

    ``"throughput"``: most samples a second, and of settings within 2 % of that the quickest. ``"latency"``: least
    latency of one sample at a time, and of settings within 3 % of that the one with most samples a second.
    ``"balanced"``: least latency that keeps 90 % of the most samples a second.

    Args:
        facts: The table's columns for the network: ``model_type``, ``layers``, ``hidden_size``, ``attention_heads``,
            ``intermediate_size``, ``vocab_size``, ``task``.
        seq_len: Tokens of a sample.
        objective: One of :data:`OBJECTIVES`.
        card: ``"standard"``, ``"pro"`` or ``"ultra"`` (one of its SoCs).
        given: Options that are fixed already; the others are chosen to go with them.

    Raises:
        UsageError: An unknown objective, card or option, a fact that is missing, or nothing that goes with ``given``.
    """
    arguments.one_of("objective", objective, OBJECTIVES)
    chosen, fixed = find_card(card), [arguments.one_of("option", name, OPTIONS) for name in given or ()]
    base = parse({**facts, **_PLAIN, **(given or {}), "seq_len": seq_len})
    run = choose(predictor(), base, objective, chosen, {name: getattr(base, name) for name in fixed})
    options = {name: getattr(run, name) for name in OPTIONS}
    return Recommendation(objective, chosen.name, **options, prediction=predictor().predict([run], chosen)[0])


def choose(
    fitted: Predictor,
    base: Run,
    objective: str,
    card: Card = STANDARD,
    fixed: Mapping[str, Json] = MappingProxyType({}),
) -> Run:
    """The run that a predictor finds best for a network.

    First cores, instances, batch and queue, then the compiler's options: what these change is predicted to be the same
    for every shape.

    Args:
        fitted: The predictor.
        base: The network and its length; other options are not read.
        objective: As :func:`recommend` takes it.
        card: For the cores that there are, and to scale to.
        fixed: Options that stay.
    """
    if objective == "latency":
        fixed = {"batch_size": 1, **fixed}
    plain = replace(base, ols=1, mos=1, multicast_weights=False)
    shapes = [replace(plain, **setting) for setting in _shapes(card, fixed)]
    if not shapes:
        raise UsageError(
            "No setting goes with the options that are given.",
            got=", ".join(f"{name}={value}" for name, value in fixed.items()),
            allowed=f"num_cores × instances up to {card.cores} on the card {card.name!r}",
            do="give fewer cores or instances, or leave them out",
        )
    shape = _best(fitted, shapes, objective, card)
    options = {
        "ols": (None, 1, 2, 4),
        "mos": (None, *sorted({1, 2, shape.num_cores})),
        "multicast_weights": (False, True),
    }
    every = [replace(shape, **choice) for choice in _settings(options, fixed)]  # those that occur in the table
    return _best(fitted, every, objective, card, exact=True)


_PLAIN = dict.fromkeys(OPTIONS, 1) | {"multicast_weights": False}
_KEEP = {"throughput": 0.98, "latency": 0.97, "balanced": 0.90}


def _best(fitted: Predictor, runs: list[Run], objective: str, card: Card, exact: bool = False) -> Run:
    """The best of these for an objective: what comes close enough in the first quantity and is best in the second."""
    rate, _, latency, _ = fitted.regression.logs(runs, card)
    first, second = (-latency, rate) if objective == "latency" else (rate, -latency)
    if exact:
        return runs[int(np.argmax(first))]
    close = first >= np.max(first) + np.log(_KEEP[objective])
    return runs[int(np.argmax(np.where(close, second, -np.inf)))]


def _shapes(card: Card, fixed: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Cores, instances, batch and queue: one instance alone, or as many as fit."""
    batches, queues = range(1, LARGEST_BATCH + 1), range(1, LARGEST_QUEUE + 1)
    found: list[dict[str, Json]] = []
    for one in _settings({"num_cores": sorted(_measured_cores() | {card.cores, card.cores // 2})}, fixed):
        counts = sorted({1, max(1, card.cores // one["num_cores"])})
        free = {"instances": counts, "batch_size": batches, "set_size": queues}
        found += [one | more for more in _settings(free, fixed)]
    return [one for one in found if one["num_cores"] * one["instances"] <= card.cores]


def _settings(free: Mapping[str, Iterable[Json]], fixed: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Every combination of these values, of what is fixed that one only."""
    values = [[fixed[name]] if name in fixed else each for name, each in free.items()]
    return [dict(zip(free, each, strict=True)) for each in product(*values)]


@cache
def _measured_cores() -> frozenset[int]:
    return frozenset(one.run.num_cores for one in measurements())
