"""Which units a model's layers have, and what each of them costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.compress.pruning.probe import fault_of
from QEfficient.errors import UsageError
from QEfficient.export.isolated import isolated

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.pytorch_transforms.unit_layouts import UnitKind
    from QEfficient.pytorch_transforms.units import LayerUnits


@dataclass(frozen=True, slots=True)
class UnitGroup:
    """The units of one kind in one layer: of these some can be cut.

    Attributes:
        layer: Number of the layer, from 0.
        kind: ``"heads"``: a unit is a head of the attention, with grouped-query attention a head of keys and values
            with all the heads of queries that share it. ``"feed_forward"``: a unit is one inner value.
        output: Path of the projection whose inputs are the units, one after the other.
        units: How many there are.
        width: Inputs of that projection that belong to one unit.
        parameters: Of the encoder that go with one unit.
    """

    layer: int
    kind: UnitKind
    output: str
    units: int
    width: int
    parameters: int


@isolated
def find_groups(module: nn.Module) -> tuple[UnitGroup, ...]:
    """The groups of units that can be cut from a model: heads and feed-forward of each layer, where it has them.

    That they can be cut is tried: without its first unit, each group of a kind has to leave the states as they are with
    zeros in its place. Where heads share something, such as biases by distance in T5 and MPNet, a layer has its
    feed-forward only; where experts stand in the place of that, only heads. Of a model with an encoder and a decoder
    only the encoder's layers count.

    Args:
        module: A model of transformers, with or without a head. It stays as it is.

    Returns:
        The groups by layer, the heads before the feed-forward.

    Raises:
        UsageError: No group of any layer can be cut.
    """
    from QEfficient.pytorch_transforms.units import units_of

    found = units_of(module)
    faults = {kind: _fault(module, [one for one in found if one.kind == kind]) for kind in ("heads", "feed_forward")}
    groups = tuple(_group(module, one) for one in found if faults[one.kind] is None)
    if not groups:
        reasons = "; ".join(f"{kind}: {fault}" for kind, fault in faults.items())
        raise UsageError(
            f"No heads and no feed-forward of {type(module).__name__} can be cut.",
            got=reasons,
            allowed="layers of transformers' models whose attention or feed-forward is made of plain matrices, as in "
            "BERT, RoBERTa, DistilBERT, Llama, ViT; not experts, convolutions, quantised or wrapped layers",
            do="name whole layers to keep instead, such as layers=[0, 2], where there is a list of them; or distill()",
        )
    return groups


def _fault(module: nn.Module, groups: list[LayerUnits]) -> str | None:
    """Why the units of a kind can't be cut; ``None`` where they can."""
    from QEfficient.pytorch_transforms.blocks import structural_copy
    from QEfficient.pytorch_transforms.units import keep_units

    if not groups:
        return "no layer has a form that is known"
    kept = {one.output: range(1, one.units) for one in groups if one.units > 1}
    trial = structural_copy(module)
    for one in groups:
        if one.output in kept:
            keep_units(trial, one, kept[one.output])
    return fault_of(module, trial, kept)


def _group(module: nn.Module, one: LayerUnits) -> UnitGroup:
    rows = 0
    for path, _ in one.inputs:
        projection: Any = module.get_submodule(path)
        rows += projection.weight.numel() + (0 if projection.bias is None else projection.bias.numel())
    output: Any = module.get_submodule(one.output)
    parameters = (rows + output.weight.numel()) // one.units
    return UnitGroup(one.layer, one.kind, one.output, one.units, one.width, parameters)
