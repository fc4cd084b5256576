"""Cutting heads and inner values out of a model: matrices get smaller, and what is left computes what it did.

A cut is checked before it is given out. Both modules run on a few random rows, the original with zeros in the place of
what was cut: the states have to be equal. So a model whose attention does more than the shapes tell is refused, and
none is ever silently wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient import arguments
from QEfficient.compress.pruning.probe import fault_of
from QEfficient.errors import OptionError, UsageError, unknown
from QEfficient.export.isolated import isolated

if TYPE_CHECKING:
    from torch import nn


@isolated
def cut(module: nn.Module, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """A copy in which these units are left. The module itself stays as it is.

    The copy computes what the module computes with zeros in the place of the other units' inputs of each ``output``.
    Its config says the widths, so that ``from_pretrained`` of this library reads it back once it is saved.

    Args:
        module: A model of transformers, with or without a head, in memory.
        kept: ``output`` of a group of :func:`~QEfficient.compress.pruning.groups.find_groups` → numbers of the units
            that stay. Groups that are not named stay whole.

    Returns:
        The copy: of the same class, in the same mode, with weights of its own.

    Raises:
        OptionError: No unit of a group is left, or there are no such units.
        UsageError: The model has no such group; or it does something else once it is cut.
    """
    chosen = _checked(module, kept)
    found = _without(module, chosen)
    fault = fault_of(module, found, chosen)
    if fault is not None:
        raise UsageError(
            f"Heads or inner values of {type(module).__name__} can't be cut one by one: the rest would do something "
            "else without them.",
            got=fault,
            allowed="the same states, to float error, as with zeros in their place",
            do="cut only groups that find_groups gives for this model, or whole layers",
        )
    return found


def _checked(module: nn.Module, kept: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """The units to keep of each group that loses some, ascending."""
    from QEfficient.pytorch_transforms.units import units_of

    groups = {group.output: group for group in units_of(module)}
    chosen: dict[str, list[int]] = {}
    for output, units in kept.items():
        if output not in groups:
            what = f"{type(module).__name__} has no group of units {output!r}."
            raise unknown(UsageError, what, output, groups, do="take the outputs that find_groups gives for this model")
        group = groups[output]
        numbers = [arguments.whole(one) for one in arguments.listed(output, units, "numbers", error=OptionError)]
        good = sorted({one for one in numbers if one is not None and 0 <= one < group.units})
        if not good or len(good) != len(numbers):
            raise OptionError(
                f"Layer {group.layer} can't keep these of its {group.kind}.",
                got=f"{output}: {_few(list(units))}",
                allowed=f"at least one number from 0 to {group.units - 1}, each once; a layer without any is no layer "
                "any more: cut it as a whole",
                do="keep at least one unit of each group",
            )
        if len(good) < group.units:
            chosen[output] = good
    return chosen


def _few(units: Sequence[object]) -> str:
    shown = ", ".join(map(repr, units[:8]))
    return f"[{shown}{', …' if len(units) > 8 else ''}]"


def _without(module: nn.Module, chosen: Mapping[str, Sequence[int]]) -> nn.Module:
    """The copy, cut, its config with the widths."""
    from QEfficient.pytorch_transforms.units import keep_units, units_of
    from QEfficient.pytorch_transforms.widths import read_widths, write_widths

    found = copy.deepcopy(module)
    groups = {group.output: group for group in units_of(found)}
    config: Any = found.config
    widths = read_widths(config)
    for output, units in chosen.items():
        group = groups[output]
        keep_units(found, group, units)
        widths.setdefault(group.layer, {})[group.kind] = len(units)
    if chosen:
        inner: Any = getattr(found, "base_model", found)
        for one in {id(part.config): part.config for part in (found, inner)}.values():
            write_widths(one, widths)
    return found
