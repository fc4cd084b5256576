"""What a training file says of the held-out rows, as lines for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def figures(facts: Mapping[str, Any]) -> list[str]:
    """Loss and metrics before and after, as printing a ``Trained`` has them.

    >>> figures({"held_out_loss": [0.5, 0.25], "score": None, "metrics": []})
    ['held-out loss: 0.5000 before, 0.2500 after']

    Args:
        facts: As ``QEfficient.train.record.Trained.facts`` gives them.
    """
    lines = []
    for what, pair in (("held-out loss", facts["held_out_loss"]), ("score", facts["score"])):
        if pair is not None:
            lines.append(f"{what}: {pair[0]:.4f} before, {pair[1]:.4f} after")
    return [*lines, *map(_metric, facts["metrics"])]


def _metric(one: Mapping[str, Any]) -> str:
    gain = one["difference"]
    told = "" if gain["p"] is None else f", p = {gain['p']:.2g}"
    return f"{one['name']}: {_told(one['before'])} before, {_told(one['after'])} after, {_told(gain, '+')}{told}"


def _told(figure: Mapping[str, Any], sign: str = "-") -> str:
    """A value with its interval; what is not defined is null in the file."""
    value, low, high = (
        "nan" if figure[name] is None else f"{figure[name]:{sign}.4f}" for name in ("value", "low", "high")
    )
    return value if figure["low"] is None else f"{value} [{low}, {high}]"
