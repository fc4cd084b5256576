"""What was done to a model to make it smaller, step by step: it stands in the model's ``config.json``.

transformers keeps what it does not know of a config, so the steps go wherever the model does: into another folder,
through a further training, and into the manifest of a program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from QEfficient.compress.guard import Drop
from QEfficient.records import CONFIG_KEY, Json

STEPS = "compressed"

CARD_FORM = "mxfp6"
"""What ``quantize`` leaves to the compiler of the card: a program of the same graph for a host is in full precision."""


@dataclass(frozen=True, slots=True)
class CompressionStep:
    """One step.

    Attributes:
        step: ``"prune"``, ``"prune_vocabulary"`` or ``"quantize"``.
        how: What was asked for.
        made: What came of it: parameters, bytes or tokens before and after.
        data: The rows that it was made by and measured on, as names, digests and counts; empty where it took none.
        drops: What was measured before and after.
        max_drop: The guard's limits; empty without one.
        told: The step in a few words, for tables: ``"pruned by 30 % of the encoder"``.
    """

    step: str
    how: Mapping[str, Json]
    made: Mapping[str, Json]
    data: Mapping[str, Json] = field(default_factory=dict)
    drops: tuple[Drop, ...] = ()
    max_drop: Mapping[str, float] = field(default_factory=dict)
    told: str = ""

    def to_dict(self) -> dict[str, Json]:
        """For JSON."""
        return {
            "step": self.step,
            "told": self.told or self.step,
            "how": dict(self.how),
            "made": dict(self.made),
            "data": dict(self.data),
            "metrics": [one.to_dict() for one in self.drops],
            "max_drop": dict(self.max_drop),
        }


def steps_of(config: Any) -> list[dict[str, Json]]:
    """The steps that a config tells of, the first one first.

    Args:
        config: transformers' object, or ``config.json`` as a mapping. What stands there is not trusted: anything that
            is no list of mappings counts as none.
    """
    found = own_part(config).get(STEPS)
    return [dict(one) for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def own_part(config: Any) -> dict[str, Any]:
    """What of a config is ours; empty where nothing is."""
    found = config.get(CONFIG_KEY) if isinstance(config, Mapping) else getattr(config, CONFIG_KEY, None)
    return dict(found) if isinstance(found, Mapping) else {}


def steps_on_host(steps: Any) -> list[Mapping[str, Json]]:
    """Those of a program's steps that its graph still has on a host, whatever it was compiled for.

    >>> [one["step"] for one in steps_on_host([{"step": "prune"}, {"step": "quantize", "how": {"to": "mxfp6"}}])]
    ['prune']
    """
    found = [one for one in steps if isinstance(one, Mapping)] if isinstance(steps, Sequence) else []
    return [one for one in found if (one.get("step"), _form(one.get("how"))) != ("quantize", CARD_FORM)]


def _form(how: Any) -> object:
    return how.get("to") if isinstance(how, Mapping) else None


def add_step(config: Any, step: CompressionStep) -> None:
    """Writes a further step into transformers' config object."""
    setattr(config, CONFIG_KEY, own_part(config) | {STEPS: [*steps_of(config), step.to_dict()]})


def told_of(steps: Any) -> list[str]:
    """The steps in a few words each, as :func:`steps_of` or a manifest has them.

    >>> told_of([{"step": "quantize", "told": "int8 weights"}, {"step": "prune"}, 3])
    ['int8 weights', 'prune']
    """
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        return []
    found = (one.get("told") or one.get("step") for one in steps if isinstance(one, Mapping))
    return [one for one in found if isinstance(one, str)]
