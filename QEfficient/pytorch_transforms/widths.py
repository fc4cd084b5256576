"""The widths of layers that a config can't say: how they stand in it, and giving a module's layers these widths.

HuggingFace's config has one number of heads and one width of the feed-forward for all layers. Where layers differ, the
config has one more entry, which transformers keeps as it keeps any that it does not know::

    "qefficient": {"widths": {"0": {"heads": 7, "feed_forward": 1504}, "2": {"feed_forward": 64}}}

By number of the layer, from 0, stands how many units are left; what is not named is as the config says it. With
grouped-query attention the heads are those of the keys. Layers are numbered, not named by path, so that the encoder
alone and a model with a head on it read the same entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from QEfficient.arguments import whole
from QEfficient.errors import LoadError
from QEfficient.pytorch_transforms.unit_layouts import LAYOUTS, UnitKind
from QEfficient.pytorch_transforms.units import keep_units, units_of
from QEfficient.records import CONFIG_KEY

WIDTHS = "widths"
"""What of our entry says the widths."""

LayerWidths = dict[int, dict[UnitKind, int]]
"""Number of a layer → kind → how many units are left."""


def read_widths(config: Any) -> LayerWidths:
    """The widths that a config says.

    Args:
        config: A config of transformers, or what stands in ``config.json``.

    Returns:
        The widths of the layers that differ; none for a model that was never cut.

    Raises:
        LoadError: The entry has another form.
    """
    own = config.get(CONFIG_KEY) if isinstance(config, Mapping) else getattr(config, CONFIG_KEY, None)
    if own is None:
        return {}
    if not isinstance(own, Mapping):
        raise _malformed(f"{CONFIG_KEY}: {own!r}")
    said = own.get(WIDTHS, {})
    if not isinstance(said, Mapping):
        raise _malformed(f"{WIDTHS}: {said!r}")
    found: LayerWidths = {}
    for layer, kinds in said.items():
        number = int(layer) if str(layer).isdecimal() else None
        if number is None or not isinstance(kinds, Mapping):
            raise _malformed(f"layer {layer!r}: {kinds!r}")
        found[number] = {}
        for kind, units in kinds.items():
            count = whole(units)
            if kind not in LAYOUTS or count is None or count < 1:
                raise _malformed(f"layer {layer}: {kind!r}: {units!r}")
            found[number][kind] = count
    return found


def write_widths(config: Any, widths: LayerWidths) -> None:
    """Says the widths in a config of transformers; what else stands in our entry stays."""
    own = dict(getattr(config, CONFIG_KEY, None) or {})
    own.pop(WIDTHS, None)
    said = {str(layer): dict(kinds) for layer, kinds in sorted(widths.items()) if kinds}
    setattr(config, CONFIG_KEY, own | ({WIDTHS: said} if said else {}))


def give_widths(module: nn.Module, widths: LayerWidths) -> None:
    """Makes a module's layers as narrow as the widths say, in place: the first units stay.

    Args:
        module: As its class makes it of its config; on the meta device, it takes no memory.
        widths: As :func:`read_widths` reads them.

    Raises:
        LoadError: There is no such layer, or it has fewer units.
    """
    groups = {(group.layer, group.kind): group for group in units_of(module)}
    for layer, kinds in widths.items():
        for kind, units in kinds.items():
            group = groups.get((layer, kind))
            if group is None or units > group.units:
                has = "none that can be cut" if group is None else str(group.units)
                raise LoadError(
                    "The widths in config.json do not fit the model.",
                    got=f"layer {layer}: {units} {_called(kind)}, where the config's own layers have {has}",
                    allowed=f"layers from 0 to {max((number for number, _ in groups), default=-1)}, each with no more "
                    "than its config says",
                    do="restore config.json as it was written with the weights, or fetch the model again",
                )
            if units < group.units:
                keep_units(module, group, range(units))


def _called(kind: UnitKind) -> str:
    return "heads" if kind == "heads" else "inner values of the feed-forward"


def _malformed(got: str) -> LoadError:
    return LoadError(
        "The widths of the layers can't be read from config.json.",
        got=got,
        allowed='"qefficient": {"widths": {"0": {"heads": 7, "feed_forward": 1504}}}, with whole numbers from 1 on',
        do="restore config.json as it was written with the weights, or fetch the model again",
    )
