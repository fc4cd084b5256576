"""The units of a model's layers, heads and inner values of the feed-forward: where they are, and keeping some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from QEfficient.pytorch_transforms.unit_layouts import (
    FORWARD_WIDTHS,
    HEAD_COUNTS,
    HEAD_SIZES,
    KEY_COUNTS,
    LAYOUTS,
    OPTIONAL,
    TOTALS,
    UnitKind,
    UnitLayout,
)


@dataclass(frozen=True, slots=True)
class LayerUnits:
    """The units of one kind in one layer, as its shapes say.

    Attributes:
        layer: Number of the layer, from 0, through all lists of layers in the order of the model's modules.
        kind: What the units are.
        block: Path of the layer.
        inputs: Path of each projection whose rows belong to units, and in how many parts all units stand there.
        output: Path of the projection whose columns belong to units.
        units: How many there are.
        width: Columns of ``output`` that belong to one.
        head_size: Width of a head; 1 in a feed-forward.
    """

    layer: int
    kind: UnitKind
    block: str
    inputs: tuple[tuple[str, int], ...]
    output: str
    units: int
    width: int
    head_size: int


def units_of(module: nn.Module) -> tuple[LayerUnits, ...]:
    """The groups of units that a model's shapes show, heads before feed-forward in each layer.

    Whether they can be cut is another question, which only a run of the model answers.

    Layers are found by their structure: blocks that stand in one list and fit a line of
    :data:`~QEfficient.pytorch_transforms.unit_layouts.LAYOUTS`. Of a model with an encoder and a decoder only the
    encoder's count. Lists of one length side by side are parts of the same layers.

    Args:
        module: A model of transformers, with or without a head.

    Returns:
        The groups; none where nothing fits.
    """
    found: list[LayerUnits] = []
    firsts: dict[tuple[str, int], int] = {}  # parent and length of a list → number of its first layer
    total = 0
    for path, blocks in _lists(module):
        if any(path.startswith(f"{group.block}.") for group in found):
            continue  # a list inside of a layer
        parent, _, name = path.rpartition(".")
        where = (path if name.isdecimal() else parent), len(blocks)  # lists in a list are one after the other
        first = firsts.get(where, total)
        inside = [
            one for place, block in enumerate(blocks) for one in _units_in(block, f"{path}.{place}", first + place)
        ]
        if inside:
            firsts[where], total = first, max(total, first + len(blocks))
            found.extend(inside)
    return tuple(sorted(found, key=lambda one: (one.layer, one.kind != "heads")))


def keep_units(module: nn.Module, group: LayerUnits, kept: Sequence[int]) -> None:
    """Leaves only some units in a layer, in place; its matrices get smaller. Works on the meta device too.

    Args:
        module: The model.
        group: As :func:`units_of` found it in this model, or in one whose modules have the same shapes.
        kept: Numbers of the units to keep, ascending, at least one.
    """
    for path, parts in group.inputs:
        projection: Any = module.get_submodule(path)
        rows = _of_units(kept, group.units, rows_of(projection), parts)
        _take(projection, rows, is_output=False)
    output: Any = module.get_submodule(group.output)
    _take(output, _of_units(kept, group.units, group.units * group.width, 1), is_output=True)
    for part in _around(module, group):
        _set_counts(part, group, len(kept))


def rows_of(projection: nn.Module) -> int:
    """How many values a projection gives."""
    made: Any = projection
    return int(made.out_features if isinstance(made, nn.Linear) else made.nf)


def is_projection(part: object) -> bool:
    """Whether a module is a plain matrix: torch's ``Linear``, or transformers' own, or GPT-2's ``Conv1D``."""
    kind = type(part)
    ours = kind.__module__.startswith("transformers.")
    return kind is nn.Linear or (ours and (issubclass(kind, nn.Linear) or kind.__name__ == "Conv1D"))


def _columns_of(projection: Any) -> int:
    return int(projection.in_features if isinstance(projection, nn.Linear) else projection.weight.shape[0])


def _lists(module: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """The lists of layers, each once; of a model with two halves the encoder's."""
    halves = bool(getattr(getattr(module, "config", None), "is_encoder_decoder", False))
    for path, part in module.named_modules():
        steps = path.split(".")
        other = halves and any("decoder" in step for step in steps) and "encoder" not in steps
        if isinstance(part, nn.ModuleList) and not other:
            yield path, part


def _units_in(block: nn.Module, path: str, layer: int) -> Iterator[LayerUnits]:
    for kind, layouts in LAYOUTS.items():
        for layout in layouts:
            found = _fitting(block, layout, kind, path, layer)
            if found is not None:
                yield found
                break


def _fitting(block: nn.Module, layout: UnitLayout, kind: UnitKind, path: str, layer: int) -> LayerUnits | None:
    """The units of a block that a layout fits: all its projections are there, and their shapes agree."""
    paths = (*layout.inputs, *(one for one in OPTIONAL if kind == "heads" and _part(block, one) is not None))
    parts = [_part(block, one) for one in (*paths, layout.output)]
    if not all(map(is_projection, parts)):
        return None
    *inputs, output = parts
    rows, columns = [rows_of(one) for one in inputs if one is not None], _columns_of(output)
    each = layout.parts or max(rows[0] // columns, 1)
    size = 1 if kind == "feed_forward" else _head_size(block, layout, columns)
    units = min(*(number // each for number in rows), columns) // max(size, 1)
    if not units or any(number % (units * each) for number in rows) or columns % units:
        return None
    expected = 3 * columns if layout.by_head else columns * each
    if rows[0] != expected or (kind == "feed_forward" and columns != units):
        return None
    numbered = tuple((f"{path}.{one}", each) for one in paths)
    return LayerUnits(layer, kind, path, numbered, f"{path}.{layout.output}", units, columns // units, size)


def _part(block: nn.Module, path: str) -> nn.Module | None:
    part: nn.Module | None = block
    for step in path.split("."):
        part = None if part is None else part._modules.get(step)
    return part


def _head_size(block: nn.Module, layout: UnitLayout, columns: int) -> int:
    """How wide a head is; 0 where the attention does not say it."""
    holder = _part(block, layout.inputs[0].rpartition(".")[0]) if "." in layout.inputs[0] else block
    said = vars(holder) if holder is not None else {}
    size = next((said[name] for name in HEAD_SIZES if isinstance(said.get(name), int)), None)
    if size is None:
        count = next((said[name] for name in HEAD_COUNTS if isinstance(said.get(name), int)), 0)
        size = columns // count if count and not columns % count else 0
    return int(size)


def _of_units(kept: Sequence[int], units: int, length: int, parts: int) -> Tensor:
    """Which of the rows, or columns, belong to the units that are kept."""
    numbers = torch.arange(length).view(parts, units, -1)
    return numbers[:, torch.tensor(list(kept))].flatten()


def _take(projection: Any, numbers: Tensor, *, is_output: bool) -> None:
    """Keeps these columns of what reads the units, or these rows of what makes them with their biases."""
    plain = isinstance(projection, nn.Linear)
    dim = int(is_output == plain)  # Conv1D's weight is the transposed one
    projection.weight = _chosen(projection.weight, dim, numbers)
    if not is_output and projection.bias is not None:
        projection.bias = _chosen(projection.bias, 0, numbers)
    if plain:
        projection.out_features, projection.in_features = projection.weight.shape
    else:
        projection.nx, projection.nf = projection.weight.shape


def _chosen(old: nn.Parameter, dim: int, numbers: Tensor) -> nn.Parameter:
    taken = old.detach().index_select(dim, numbers.to(old.device)).contiguous()
    return nn.Parameter(taken, requires_grad=old.requires_grad)


def _around(module: nn.Module, group: LayerUnits) -> list[nn.Module]:
    """The modules between the layer and its projections: those whose attributes may say how many units there are."""
    found: dict[str, nn.Module] = {}
    for path in (*(path for path, _ in group.inputs), group.output):
        holder = path.rpartition(".")[0]
        while len(holder) > len(group.block):
            found[holder] = module.get_submodule(holder)
            holder = holder.rpartition(".")[0]
    return list(found.values()) or [module.get_submodule(group.block)]


def _set_counts(part: nn.Module, group: LayerUnits, kept: int) -> None:
    said = vars(part)
    if group.kind == "feed_forward":
        changes = dict.fromkeys(FORWARD_WIDTHS, (group.units, kept))
    else:
        each = group.width // group.head_size
        changes = dict.fromkeys(HEAD_COUNTS, (group.units * each, kept * each))
        changes |= dict.fromkeys(KEY_COUNTS, (group.units, kept))
        changes |= dict.fromkeys(TOTALS, (group.units * group.width, kept * group.width))
    for name, (before, after) in changes.items():
        if said.get(name) == before:
            setattr(part, name, after)
