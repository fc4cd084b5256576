"""How to distill: the keywords of ``distill``, parsed and checked once, before anything is loaded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from QEfficient import arguments
from QEfficient.errors import OptionError, unknown
from QEfficient.records import Json
from QEfficient.train.request import TrainRequest, parse_request

COSINE, ERROR, SIMILARITY = "cosine", "mse", "similarity"
WEIGHTS: Mapping[str, float] = {COSINE: 1.0, ERROR: 1.0, SIMILARITY: 10.0}
"""How much each term of the loss of vectors counts, unless the caller says otherwise."""

RATE = 3e-4
"""The learning rate, unless the caller names one: the weights are good ones already, but far from where they go."""

_NOTHING_FOR = ("lora", "loss", "class_weights", "hard_negatives", "gradient_accumulation")
_OWN = ("weights", "temperature", "alpha")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillRequest(TrainRequest):
    """How to distill: what :class:`TrainRequest` says, but for adapters, losses by name and class weights; and these.

    Attributes:
        weights: Of embedding models: how much each term of the loss counts: ``"cosine"`` (1 - cosine of the student's
            and the teacher's vector), ``"mse"`` (their squared distance, as a share of the teacher's squared length)
            and ``"similarity"`` (squared difference of the cosines of any two texts of a batch). What is left out
            counts as :data:`WEIGHTS` says; 0 leaves a term out.
        temperature: Of heads: both models' logits are divided by it before they are compared.
        alpha: Of heads: the share of the teacher in the loss, from 0 to 1; the rest is the rows' own labels'. Without
            labels it is 1.
        teacher: Digest of the teacher's weights and of what stands behind them; filled in.
        layers: The teacher's layers that the student began with; filled in.
    """

    batch_size: int = 64
    dropout: float | None = 0.0
    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    temperature: float = 2.0
    alpha: float = 0.5
    teacher: str = ""
    layers: tuple[int, ...] = ()

    @property
    def rate(self) -> float:
        """The learning rate, with its default."""
        return RATE if self.learning_rate is None else self.learning_rate

    def how(self) -> dict[str, Json]:
        """As a training's; of the fields that do nothing here, none."""
        fields = {name: value for name, value in TrainRequest.how(self).items() if name not in _NOTHING_FOR}
        return fields | {"layers": list(self.layers)}


def parse_distill_request(keywords: Mapping[str, Any]) -> DistillRequest:
    """Keywords as a request.

    >>> parse_distill_request({"epochs": 2, "weights": {"mse": 0}}).weights
    {'cosine': 1.0, 'mse': 0.0, 'similarity': 10.0}

    Args:
        keywords: Attributes of :class:`DistillRequest` by name; what is left out has its default.

    Raises:
        OptionError: A name is unknown, or a value is out of range.
    """
    known = [one.name for one in dataclasses.fields(TrainRequest) if one.name not in _NOTHING_FOR]
    for name in keywords:
        if name not in (*known, *_OWN):
            what = f"distill has no keyword {name!r}."
            raise unknown(OptionError, what, name, (*known, *_OWN), do="correct its name, or drop it")
    of_training = {name: value for name, value in keywords.items() if name not in _OWN}
    parsed = parse_request(of_training)
    given = {name: getattr(parsed, name) for name in of_training}
    own = {name: _CHECKS[name](keywords[name]) for name in _OWN if name in keywords}
    return DistillRequest(**given, **own)


def _weights(value: object) -> Mapping[str, float]:
    if not isinstance(value, Mapping) or not set(value) <= set(WEIGHTS):
        raise _refused("weights", value, f"a mapping from some of {', '.join(map(repr, WEIGHTS))} to numbers")
    found = {name: _number(f"weights[{name!r}]", weight, 0, math.inf) for name, weight in value.items()}
    weights = {**WEIGHTS, **found}
    if not any(weights.values()):
        raise _refused("weights", value, "a number above 0 for one of them")
    return weights


def _temperature(value: object) -> float:
    number = _number("temperature", value, 0, math.inf)
    if number == 0:
        raise _refused("temperature", value, "a number above 0")
    return number


def _number(name: str, value: object, least: float, most: float) -> float:
    if arguments.is_number(value) and math.isfinite(float(value)):  # type: ignore[arg-type]
        if least <= float(value) <= most:  # type: ignore[arg-type]
            return float(value)  # type: ignore[arg-type]
    raise _refused(name, value, f"a number from {least:g}" + (f" to {most:g}" if math.isfinite(most) else " on"))


def _refused(name: str, value: object, allowed: str) -> OptionError:
    return OptionError(
        f"{name} can't be distilled with.", got=f"{name}={value!r}", allowed=allowed, do=f"correct {name}"
    )


_CHECKS: Mapping[str, Callable[[object], Any]] = {
    "weights": _weights,
    "temperature": _temperature,
    "alpha": lambda value: _number("alpha", value, 0, 1),
}
