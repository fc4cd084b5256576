"""Which units of a model stay: those that are least important for their work go first."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from QEfficient import arguments
from QEfficient.compress.pruning.groups import UnitGroup
from QEfficient.compress.pruning.importance import Importance
from QEfficient.errors import OptionError

HEADS, FEED_FORWARD = "heads", "feed_forward"
KINDS = (HEADS, FEED_FORWARD)

BLOCK = 32
"""Feed-forward units that go together, so that widths stay multiples of it: runtimes multiply in such tiles."""


_LEAST = 1e-6
"""A group that matters nowhere is free, and still has a rate."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Units of a group that go together.

    Attributes:
        group: Theirs.
        units: Which.
        rank: Importance for its work, and where two are equal their place.
    """

    group: UnitGroup
    units: tuple[int, ...]
    rank: tuple[float, int, str, int]

    @property
    def parameters(self) -> int:
        return len(self.units) * self.group.parameters


def select(
    groups: Sequence[UnitGroup],
    importance: Importance,
    share: float,
    total: int,
    *,
    kinds: Collection[str] = KINDS,
    block: int = BLOCK,
) -> dict[str, tuple[int, ...]]:
    """Takes away the units with the least importance for their work, over all layers, until the share is reached.

    Their work is one multiplication a parameter and position. Of a last layer of which only the first token's state is
    read, nearly none is done for the other tokens (but for keys and values): without that the share would be taken
    where it is cheapest, and would save no time. Measured on a classifier of sentiment made of MiniLM, 30 % gone and
    nothing trained: accuracy 0.871 in place of 0.874, and the products of the rest take 1.39 times less in place of
    1.28.

    Heads go one by one, units of a feed-forward layer in blocks: first as many as leave a multiple of the block, then a
    block each. One head and one block of each group always stay. A larger share keeps a subset of what a smaller one
    keeps.

    Args:
        groups: As ``find_groups`` gives them.
        importance: As :func:`~QEfficient.compress.pruning.importance.measure_importance` gives it.
        share: Of the encoder's parameters that are to go, at least; less than one head or block beyond it goes.
        total: The encoder's parameters.
        kinds: What may go: ``"heads"``, ``"feed_forward"``.
        block: Feed-forward units that go together.

    Returns:
        A group's ``output`` → the units that stay, ascending; of every group.

    Raises:
        OptionError: The share is no number between 0 and 1, or more than can go; says what can. Or nothing can.
    """
    block = arguments.positive("block", block, "units")
    parts = sorted(
        (part for group in groups if group.kind in kinds for part in _parts(group, importance, block)),
        key=lambda part: part.rank,
    )
    if not parts:
        widest = max((group.units for group in groups if group.kind == FEED_FORWARD), default=0)
        raise OptionError(
            "One head and one block of each group always stay, so that nothing is left which may go.",
            got=f"{' and '.join(sorted(kinds))} may go, with block={block}",
            allowed=f"layers with two heads or more, and a block below the {widest} units of the widest feed-forward",
            do="choose a smaller block, or let both heads and feed_forward go",
        )
    check_share(share, sum(part.parameters for part in parts) / total)
    gone: dict[str, set[int]] = {group.output: set() for group in groups}
    removed = 0
    for part in parts:
        if removed >= share * total:
            break
        gone[part.group.output].update(part.units)
        removed += part.parameters
    return {
        group.output: tuple(unit for unit in range(group.units) if unit not in gone[group.output]) for group in groups
    }


def check_share(share: object, most: float = 1.0) -> float:
    """A caller's share as a number.

    Args:
        share: Of the parameters.
        most: The largest that can go.

    Raises:
        OptionError: It is none, not above 0 and below 1, or above ``most``.
    """
    number = float(share) if arguments.is_number(share) else math.nan  # type: ignore[arg-type]
    if not (0 < number < 1 and number <= most):
        raise OptionError(
            "This share of the encoder's parameters can't be pruned.",
            got=f"share={share!r}",
            allowed=f"a number above 0 and {f'at most {_floor(most)}' if most < 1 else 'below 1'}: 0.3 takes 30 %",
            do="ask for less" if number > most else "pass such a number",
        )
    return number


def layer_importance(groups: Sequence[UnitGroup], importance: Importance) -> dict[int, float]:
    """A layer → the importance of its units together."""
    found: dict[int, float] = {}
    for group in groups:
        found[group.layer] = found.get(group.layer, 0.0) + float(importance.values[group.output].sum())
    return found


def _parts(group: UnitGroup, importance: Importance, block: int) -> Iterator[_Part]:
    """What of a group may go, in the order in which it goes: the least important units first."""
    values, size = importance.values[group.output], 1 if group.kind == HEADS else block
    work = group.parameters * _busy(group.kind, importance.used[group.output])
    order = sorted(range(group.units), key=lambda unit: (values[unit], unit))
    start, rate = 0, 0.0
    while start < group.units - size:
        stop = start + (group.units % size or size if start == 0 else size)
        units = tuple(order[start:stop])
        mean = float(sum(values[unit] for unit in units)) / len(units)
        rate = max(rate, mean / work)  # equal ones may be rounded otherwise, and are to stay in order
        yield _Part(group, units, (rate, group.layer, group.output, start))
        start = stop


def _busy(kind: str, used: float) -> float:
    """At which share of positions a parameter is multiplied: keys and values, half of a head, always are."""
    used = max(used, _LEAST)
    return (1 + used) / 2 if kind == HEADS else used


def _floor(share: float) -> str:
    return f"{math.floor(share * 1000) / 1000:g}"
