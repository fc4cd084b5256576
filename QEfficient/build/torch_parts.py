"""The parts of a model in torch that its graph and HuggingFace's numbers for it are both made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from QEfficient.pytorch_transforms.head import HeadModule
from QEfficient.pytorch_transforms.padding_ids import hide_padding, no_end, takes_last_column
from QEfficient.source.checkpoint import Checkpoint

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe


def part_of(recipe: Recipe) -> nn.Module:
    """What of the model is exported: its encoder, or for most tasks all of it."""
    return recipe.task.part(recipe.origin.module(), recipe.architecture)


def by_last_column(recipe: Recipe, model: nn.Module) -> bool:
    """Whether HuggingFace's own model has to be asked row by row, without what stands behind a row."""
    texts = recipe.architecture.inputs is None and recipe.task.by_last_column
    return texts and takes_last_column(model)


def hide_ends(twin: nn.Module, recipe: Recipe) -> None:
    """Where a row's vector is the state of its first end token, none is to be found in the padding before it."""
    if recipe.architecture.ends and recipe.pools_end:
        config = recipe.origin.config()
        hide_padding(twin, no_end((config.get("text_config") or config).get("eos_token_id")))


def head_of(recipe: Recipe) -> HeadModule | None:
    """What stands behind an encoder; ``None`` where nothing of ours does."""
    if not recipe.task.pools:
        return None
    origin = recipe.origin
    folder = origin.files.folder if isinstance(origin, Checkpoint) else None
    head = HeadModule(recipe.head.steps, folder=folder, pooling=recipe.head.function)
    config = origin.config()
    width = next((config[name] for name in ("hidden_size", "d_model", "dim") if name in config), None)
    if recipe.head.function is not None and isinstance(width, int):
        head.check(width)  # the caller's own code: a fault is named before the exporter meets it
    return head
