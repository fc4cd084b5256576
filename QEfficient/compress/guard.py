"""The guard of a step that makes a model smaller: by how much each metric may get worse.

A step is measured before it is kept. Where a metric gets worse by more than its limit, the step is refused, and
whoever asked for it still has the model, its program and its files as they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from QEfficient.arguments import is_number
from QEfficient.errors import CompressionRefusedError, OptionError, nearest
from QEfficient.records import Json

ROUNDING = 1e-9
"""By how much a drop may look larger than it is: 0.87 - 0.86 is 0.010000000000000009 in float64."""

SCORE = "score"
"""What the figure of a caller's own function is called."""


@dataclass(frozen=True, slots=True)
class Drop:
    """One metric of a model on held-out rows, before a step and after it.

    Attributes:
        name: Of the metric: ``"accuracy"``, ``"ndcg@10"``; ``"score"`` for the caller's own function.
        before, after: Its values; NaN where it is not defined.
        higher_is_better: False for an error rate.
        low, high: Ends of the 95 % interval of ``after - before``, of rows that both answered; NaN without one.
        p: That there is no difference; NaN without one.
    """

    name: str
    before: float
    after: float
    higher_is_better: bool = True
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan

    @property
    def value(self) -> float:
        """By how much it got worse, in the metric's own unit; below 0 where it got better."""
        return self.before - self.after if self.higher_is_better else self.after - self.before

    def __str__(self) -> str:
        told = "" if math.isnan(self.p) else f" (p = {self.p:.2g})"
        between = "" if math.isnan(self.low) else f" [{self.low:+.4f}, {self.high:+.4f}]"
        gain = self.after - self.before
        return f"{self.name}: {self.before:.4f} before, {self.after:.4f} after, {gain:+.4f}{between}{told}"

    def to_dict(self) -> dict[str, Json]:
        """For JSON: what is not defined is null."""
        numbers = ("before", "after", "low", "high", "p")
        found: dict[str, Json] = {"name": self.name, "higher_is_better": self.higher_is_better}
        return found | {name: _finite(getattr(self, name)) for name in numbers}


@dataclass(frozen=True, slots=True)
class Guard:
    """What a step may cost.

    Attributes:
        limits: Metric → by how much it may get worse.
    """

    limits: Mapping[str, float]

    def check_known(self, names: Sequence[str]) -> None:
        """Refuses a limit for a metric that is not measured; asked before the work begins.

        Args:
            names: Of what is, or will be, measured.

        Raises:
            OptionError: There is one.
        """
        for name in self.limits:
            if name not in names:
                raise OptionError(
                    f"max_drop has a limit for a metric that is not measured here.{nearest(name, names)}",
                    got=repr(name),
                    allowed=", ".join(names) or "none: there are no held-out rows with answers, and no score",
                    do="name one of these, or pass eval=… with rows that this metric is measured on",
                )

    def check(self, drops: Sequence[Drop], step: str, gentler: str) -> None:
        """Refuses a step that costs too much.

        A metric that is not defined afterwards is worse by more than any limit.

        Args:
            drops: What was measured.
            step: What was done, for the message.
            gentler: What would cost less.

        Raises:
            OptionError: A metric with a limit was not measured.
            CompressionRefusedError: One got worse by more than its limit.
        """
        found = {one.name: one for one in drops}
        self.check_known(list(found))
        # not `>`: NaN is past every limit
        past = [found[name] for name, limit in self.limits.items() if not found[name].value <= limit + ROUNDING]
        if past:
            limits = ", ".join(f"{one.name} {self.limits[one.name]:g}" for one in past)
            raise CompressionRefusedError(
                f"{step} costs more than max_drop allows. Nothing of it is kept.",
                got="; ".join(map(str, past)),
                allowed=f"a drop of at most {limits}",
                do=gentler,
                drops=drops,
            )


def parse_guard(max_drop: object) -> Guard | None:
    """A caller's ``max_drop``, checked.

    >>> parse_guard({"accuracy": 0.01}).limits
    {'accuracy': 0.01}

    Raises:
        OptionError: It is no mapping of names to numbers from 0 up, or it holds none.
    """
    if max_drop is None:
        return None
    if not isinstance(max_drop, Mapping) or not max_drop:
        raise _bad_limits(repr(max_drop))
    for name, limit in max_drop.items():
        if not isinstance(name, str) or not is_number(limit) or not 0 <= limit < math.inf:
            raise _bad_limits(f"{name!r}: {limit!r}")
    return Guard({name: float(limit) for name, limit in max_drop.items()})


def _bad_limits(got: str) -> OptionError:
    return OptionError(
        "max_drop is a mapping of metrics to how much each may get worse.",
        got=got,
        allowed='names of metrics, or "score", with a number from 0 up: 0.01 of an accuracy is one point',
        do='for example max_drop={"accuracy": 0.01}',
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
