"""What of a model is cut off: the caller's share or layers → importance on rows → units that stay → a narrower copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from QEfficient import arguments
from QEfficient.auto.compression.measuring import MeasuredModel
from QEfficient.compress.pruning.depth import cut_layers, layer_list
from QEfficient.compress.pruning.groups import UnitGroup, find_groups
from QEfficient.compress.pruning.importance import Importance
from QEfficient.compress.pruning.select import FEED_FORWARD, HEADS, check_share, layer_importance, select
from QEfficient.compress.pruning.surgery import cut
from QEfficient.errors import OptionError, UsageError
from QEfficient.evaluate.record import Examples
from QEfficient.records import Json

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Cut:
    """What is to go.

    Attributes:
        share: Of the encoder's parameters; ``None`` where layers are named.
        layers: How many stay, or which; ``None`` where a share is named.
        kinds: What of a share may go: ``"heads"``, ``"feed_forward"``.
        block: Feed-forward units that go together.
    """

    share: float | None
    layers: int | tuple[int, ...] | None
    kinds: tuple[str, ...]
    block: int

    @classmethod
    def parse(cls, share: object, layers: object, flags: tuple[object, object], block: object) -> Cut:
        """A caller's arguments, checked.

        Args:
            share: Of the encoder's parameters.
            layers: How many stay, or which.
            flags: Whether heads, and feed-forward units, may go.
            block: Feed-forward units that go together.

        Raises:
            UsageError: Not one of ``share`` and ``layers``.
            OptionError: A value is out of range.
        """
        if (share is None) == (layers is None):
            raise UsageError(
                "It has to be said how much is to go: a share, or how many layers stay.",
                got="neither share nor layers" if share is None else "both",
                allowed="one of them",
                do="pass share=0.3, which takes 30 % of the encoder's parameters; or layers=4",
            )
        for name, value in zip((HEADS, FEED_FORWARD), flags, strict=True):
            if not isinstance(value, bool):
                raise OptionError(
                    f"{name} says whether these may be pruned.",
                    got=f"{name}={value!r}",
                    allowed="True or False; how much goes in all is said by share",
                    do=f"drop {name}, or pass one of these",
                )
        kinds = tuple(name for name, value in zip((HEADS, FEED_FORWARD), flags, strict=True) if value)
        if not kinds:
            raise OptionError(
                "Nothing is left that may be pruned.",
                got="heads=False, feed_forward=False",
                allowed="one of them",
                do="leave one of them out",
            )
        block = arguments.positive("block", block, "units")
        return cls(None if share is None else check_share(share), _layers(layers), kinds, block)

    def to_dict(self) -> dict[str, Json]:
        """For JSON."""
        layers = list(self.layers) if isinstance(self.layers, tuple) else self.layers
        if layers is not None:
            return {"layers": layers}
        return {"share": self.share, "kinds": list(self.kinds), "block": self.block}


def _layers(layers: object) -> int | tuple[int, ...] | None:
    """A number of layers, or their numbers; whether the model has them is asked when they are cut."""
    if layers is None or (count := arguments.whole(layers)) is not None:
        return None if layers is None else count
    numbers = [arguments.whole(one) for one in arguments.listed("layers", layers, "numbers", error=OptionError)]
    if None in numbers:
        raise OptionError(
            "layers is no list of whole numbers.", got=f"layers={layers!r}", allowed="[0, 2, 5]", do="pass such a list"
        )
    return tuple(number for number in numbers if number is not None)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A copy from which something was cut.

    Attributes:
        module: The copy.
        facts: What came of it, for the record: parameters before and after, of the encoder and of the whole model, and
            which layers, or how many units of each, it has.
    """

    module: nn.Module
    facts: Mapping[str, Json]


def cut_of(model: MeasuredModel, wanted: Cut, rows: Examples, seed: int) -> Narrowed:
    """Cuts what matters least on the rows off a copy.

    Raises:
        OptionError: A share that can't be pruned, or there are no such layers.
        UsageError: The model can't be cut.
        InputError: There are no rows, or they don't fit.
        NumericsError: Something that was measured is NaN or Inf.
    """
    module = model.model.module
    if isinstance(wanted.layers, tuple):  # these need no units that can be cut
        return _with_layers(module, wanted.layers)
    groups = find_groups(module)
    importance = _importance(model, groups, rows, seed)
    if wanted.layers is not None:
        return _with_layers(module, _best(wanted.layers, layer_importance(groups, importance)))
    encoder = _encoder_parameters(module, groups)
    kept = select(groups, importance, wanted.share or 0.0, encoder, kinds=wanted.kinds, block=wanted.block)
    narrow = cut(module, kept)
    units = {kind: [len(kept[one.output]) for one in groups if one.kind == kind] for kind in (HEADS, FEED_FORWARD)}
    return Narrowed(narrow, _sizes(module, narrow, encoder) | units)


def _importance(model: MeasuredModel, groups: Sequence[UnitGroup], rows: Examples, seed: int) -> Importance:
    from QEfficient.train.unit_importance import head_importance, vector_importance

    if model.head is None:
        return head_importance(model.model, groups, rows, seed)
    return vector_importance(model.model, model.head, groups, rows, seed)


def _best(count: int, layers: Mapping[int, float]) -> int | tuple[int, ...]:
    """The layers that matter most, in their order; a number that the model has not is left to whoever cuts."""
    if not 0 < count < len(layers):
        return count
    most = sorted(layers, key=lambda layer: (-layers[layer], layer))[:count]
    return tuple(sorted(most))


def _with_layers(module: nn.Module, layers: int | tuple[int, ...]) -> Narrowed:
    narrow, kept = cut_layers(module, layers)
    blocks = layer_list(module)[1]
    if len(kept) == len(blocks):
        raise OptionError(
            "Nothing would be pruned: these are all the layers that there are.",
            got=f"layers={list(layers) if isinstance(layers, tuple) else layers!r} of {len(blocks)}",
            allowed=f"fewer than {len(blocks)}",
            do="name those to keep, or pass share=0.3 in place of layers",
        )
    encoder = _count(blocks)
    return Narrowed(narrow, _sizes(module, narrow, encoder) | {"layers": list(kept)})


def _encoder_parameters(module: nn.Module, groups: Sequence[UnitGroup]) -> int:
    """Those of the layers that the groups stand in: of the lists of layers, which their paths name before a number."""
    found = set()
    for group in groups:
        parts = group.output.split(".")
        place = next((place for place, part in enumerate(parts) if part.isdecimal()), len(parts))
        found.add(".".join(parts[:place]))
    return sum(_count(module.get_submodule(path)) for path in found)


def _sizes(before: nn.Module, after: nn.Module, encoder: int) -> dict[str, Json]:
    whole = [_count(one) for one in (before, after)]
    gone = whole[0] - whole[1]
    return {
        "encoder_parameters": [encoder, encoder - gone],
        "parameters": whole,
        "share_of_encoder": round(gone / encoder, 4),
        "share_of_model": round(gone / whole[0], 4),
    }


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
