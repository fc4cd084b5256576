"""A copy of a module that has fewer layers: how a student begins."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient import arguments
from QEfficient.errors import OptionError, UsageError
from QEfficient.export.isolated import isolated

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.pytorch_transforms.widths import LayerWidths

Layers = int | Sequence[int]
"""How many layers to keep, or which ones, counted from 0."""

_COUNT = "num_hidden_layers"
"""Where transformers' configs say how many layers there are; those that call it otherwise answer to this name too."""

_NUMBERS = ("layer_idx", "layer_id", "layer_index")
"""Attributes of a layer, or of a part of one, that say which it is."""


@isolated
def cut_layers(module: nn.Module, layers: Layers) -> tuple[nn.Module, tuple[int, ...]]:
    """A copy with some of the layers, in their order; config and numbering fit. The module itself stays as it is.

    The copy is what its class makes of its config, so that it can be saved, read back and exported like any other:
    where the layers that stay would do something else in their new places, they are refused. Layers that have widths
    of their own keep them.

    Args:
        module: A model of transformers whose layers stand in one list.
        layers: How many to keep, evenly spread with the last among them, and the first where no other can stand in its
            place; or which.

    Returns:
        The copy, and the numbers of the layers that it kept.

    Raises:
        UsageError: The model has no such list, as where layers share weights or stand in several stages; or a layer
            can't stand where it would.
        OptionError: There are no such layers.
    """
    path, blocks = layer_list(module)
    refused = []
    for kept in _choices(layers, len(blocks)):
        student = _with_layers(module, path, kept)
        fault = _misfit(student, path, kept)
        if fault is None:
            return student, kept
        refused.append(f"layers {', '.join(map(str, kept))}: {fault}")
    raise UsageError(
        f"{type(module).__name__} has layers that can't stand in another place.",
        got="; ".join(refused),
        allowed="layers that all do the same in every place; where the first is unlike the others, it has to stay",
        do="name others, such as layers=[0, …], or pass student=… with a model of your own",
    )


def layer_list(module: nn.Module) -> tuple[str, nn.ModuleList]:
    """The one list of blocks of one type that is as long as the config says; and its path."""
    from torch.nn import ModuleList

    config: Any = module.config
    told = getattr(config, _COUNT, None)
    found = [
        (path, part)
        for path, part in module.named_modules()
        if isinstance(part, ModuleList) and len(part) == told and len({type(block) for block in part}) == 1
    ]
    if len(found) == 1 and len({id(block) for block in found[0][1]}) == told:
        return found[0]
    names = ", ".join(repr(path) for path, _ in found)
    raise UsageError(
        f"The layers of {type(module).__name__} can't be cut: it is not clear which they are.",
        got=f"{len(found)} lists of layers ({names})" if found else f"no list of {told} blocks of one type",
        allowed="a model whose layers stand in one list; not one whose layers share weights (ALBERT), have stages, or "
        "belong to an encoder and a decoder",
        do="pass student=… with a smaller model in place of layers",
    )


def _choices(layers: Layers, total: int) -> list[tuple[int, ...]]:
    """Which layers may be kept, what is tried first coming first."""
    count = arguments.whole(layers)
    if count is not None:
        if not 1 <= count <= total:
            raise _out_of_range(f"layers={count}", total)
        last = tuple((place + 1) * total // count - 1 for place in range(count))
        first = tuple(place * (total - 1) // max(count - 1, 1) for place in range(count))
        return list(dict.fromkeys((last, first)))
    named = [arguments.whole(number) for number in arguments.listed("layers", layers, "numbers", error=OptionError)]
    kept = tuple(number for number in named if number is not None)
    if not kept or len(kept) != len(named) or any(not 0 <= number < total for number in kept):
        raise _out_of_range(f"layers={layers!r}", total)
    if list(kept) != sorted(set(kept)):
        raise OptionError(
            "The layers to keep are not in ascending order, each once.",
            got=f"layers={layers!r}",
            allowed="ascending numbers, such as [1, 3, 5]",
            do="sort them",
        )
    return [kept]


def _out_of_range(got: str, total: int) -> OptionError:
    return OptionError(
        "The model has no such layers.",
        got=got,
        allowed=f"how many to keep, from 1 to {total}; or a list of numbers from 0 to {total - 1}",
        do="correct layers",
    )


def _with_layers(module: nn.Module, path: str, kept: tuple[int, ...]) -> nn.Module:
    from QEfficient.pytorch_transforms.widths import read_widths, write_widths

    student = copy.deepcopy(module).requires_grad_(True)
    blocks: Any = student.get_submodule(path)
    total, chosen = len(blocks), [blocks[number] for number in kept]
    for place, block in enumerate(chosen):
        for part in block.modules():
            for name in _NUMBERS:
                if vars(part).get(name) == kept[place]:
                    setattr(part, name, place)
    owner_path, _, name = path.rpartition(".")
    setattr(student.get_submodule(owner_path), name, type(blocks)(chosen))
    for config in _configs(student):
        if getattr(config, _COUNT, None) == total:
            _cut_config(config, kept, total)
        if widths := read_widths(config):
            write_widths(config, _moved(widths, module, student, path, kept))
    for part in student.modules():  # some keep what the config said
        if vars(part).get(_COUNT) == total:
            setattr(part, _COUNT, len(kept))
    return student


def _moved(widths: LayerWidths, module: nn.Module, student: nn.Module, path: str, kept: tuple[int, ...]) -> LayerWidths:
    """The widths of the layers by their new numbers."""
    from QEfficient.pytorch_transforms.units import units_of

    before = {group.block: group.layer for group in units_of(module)}
    now = {group.block: group.layer for group in units_of(student)}
    origin = {f"{path}.{place}": f"{path}.{number}" for place, number in enumerate(kept)}
    numbers = {layer: before[origin.get(block, block)] for block, layer in now.items()}
    return {layer: widths[number] for layer, number in numbers.items() if number in widths}


def _cut_config(config: Any, kept: tuple[int, ...], total: int) -> None:
    """Says how many layers there are, and of what is said layer by layer only what is about those that are kept."""
    by_layer = {
        name: [value[number] for number in kept]
        for name, value in vars(config).items()
        if isinstance(value, (list, tuple)) and len(value) == total and ("layer" in name or "attention" in name)
    }
    setattr(config, _COUNT, len(kept))
    for name, values in by_layer.items():
        setattr(config, name, values)


def _configs(module: nn.Module) -> Iterator[Any]:
    found = {id(part.config): part.config for part in module.modules() if hasattr(part, "config")}
    return iter(found.values())


def _misfit(student: nn.Module, path: str, kept: tuple[int, ...]) -> str | None:
    """What of the student is not as its class would make it of its config; ``None`` where all is."""
    import torch

    from QEfficient.pytorch_transforms.widths import give_widths, read_widths

    kind: Any = type(student)
    with torch.device("meta"):
        made = kind(copy.deepcopy(student.config))
        give_widths(made, read_widths(student.config))
    own, wanted = _shapes(student), _shapes(made)
    blocks = f"{path}."
    lacking = [name for name in wanted if name.startswith(blocks) and name not in own]
    odd = [name for name, shape in own.items() if wanted.get(name) != shape]
    if lacking or odd:
        name = (lacking or odd)[0]
        return f"{name} is {own.get(name, 'not there')}, where a model of its own has {wanted.get(name, 'none')}"
    for place, number in enumerate(kept):
        inside = f"{path}.{place}"
        as_made, as_cut = _facts(made.get_submodule(inside)), _facts(student.get_submodule(inside))
        for name in as_made:
            if as_made[name] != as_cut.get(name):
                return f"layer {number} is not what layer {place} of a smaller model is, by {name or 'its class'}"
    return None


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _facts(block: nn.Module) -> dict[str, tuple[Any, ...]]:
    """Class and plain attributes of each part: what makes two blocks with equal weights compute the same."""
    return {
        name: (
            type(part),
            sorted(
                (key, repr(value))
                for key, value in vars(part).items()
                if isinstance(value, (int, float, str, bool, tuple)) and not key.startswith("_") and key != "training"
            ),
        )
        for name, part in block.named_modules()
    }
