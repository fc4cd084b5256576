"""Torch → ONNX: the module that is exported, and the export. Imported only when the cache has no answer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from QEfficient.architectures import Architecture
from QEfficient.build.torch_parts import by_last_column, head_of, hide_ends, part_of
from QEfficient.errors import ExportError
from QEfficient.export.exporter import traced
from QEfficient.export.isolated import isolated
from QEfficient.onnx_transforms import BY_LAYERS, DEFAULT, finish
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.pytorch_transforms.embedding import (
    POOLING_MASK,
    GraphModule,
    text_inputs,
)
from QEfficient.pytorch_transforms.padding_ids import pool_by_mask
from QEfficient.pytorch_transforms.rotary import tabulate
from QEfficient.pytorch_transforms.speech import replace_frame_masks
from QEfficient.records import LENGTH_DIM, Json, OnnxModel, RowRules, TensorSpec
from QEfficient.runtime.names import OF_TRANSFORMERS
from QEfficient.runtime.spans import span

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe


@isolated
def export_graph(recipe: Recipe, folder: Path) -> OnnxModel:
    """Torch → ONNX → graph passes.

    Args:
        recipe: What to export.
        folder: Where the finished graph goes.
    """
    config = recipe.origin.config()
    architecture = recipe.architecture
    with span("load"):
        module, specs = graph_module(recipe)
    passes = BY_LAYERS if recipe.functions else DEFAULT
    limit, shortest = architecture.max_length(config), architecture.shortest(config)
    with (
        span("export"),
        traced(module, inputs=specs, outputs=recipe.task.outputs, length_limit=limit, shortest=shortest) as graph,
    ):
        exported = finish(graph, folder, passes=passes)
    _check_free(recipe, exported)
    return exported


def _check_free(recipe: Recipe, exported: OnnxModel) -> None:
    """One vector a token needs a free length; a model's code may have made a constant of it."""
    if recipe.per_token and isinstance(exported.outputs[0].shape[1], int):
        raise ExportError(
            f"The graph of {recipe.origin.name!r} lost its free length: the model's code made a constant of it.",
            got=f"an output of shape {list(exported.outputs[0].shape)}",
            allowed=f"a shape with {LENGTH_DIM}, or frames",
            do="use a model whose forward takes any length",
        )


def inputs_of(model: nn.Module, architecture: Architecture, config: Mapping[str, Json]) -> tuple[TensorSpec, ...]:
    """The graph's inputs."""
    inputs = architecture.inputs
    return text_inputs(model, architecture.more(config)) if inputs is None else inputs(config)


def graph_module(recipe: Recipe) -> tuple[GraphModule, tuple[TensorSpec, ...]]:
    """The module that is exported, its blocks swapped, and the graph's inputs."""
    part, architecture, config = part_of(recipe), recipe.architecture, recipe.origin.config()
    specs = inputs_of(part, architecture, recipe.origin.facts())
    twin, _ = exportable(part, architecture.swaps())
    tabulate(twin, architecture.max_length(config))
    replace_frame_masks(twin, architecture.frames(config))
    hide_ends(twin, recipe)
    if by_last_column(recipe, part):
        pool_by_mask(twin)
    # A model with code of its own may carry a known model_type: only transformers' class is known to take that mask.
    known = type(part).__module__.startswith("transformers.")
    mask = recipe.task.mask(architecture.mask_kind(config) if known else "own")
    module = recipe.task.traced(twin, [spec.name for spec in specs], mask, head_of(recipe))
    return module.eval(), (*specs, *_head_inputs(recipe))


def _head_inputs(recipe: Recipe) -> tuple[TensorSpec, ...]:
    """Inputs of the graph that its head takes: the mask of the tokens that are pooled, where a prompt's are not."""
    return (POOLING_MASK,) if any(not step.get("include_prompt", True) for step in recipe.head.steps) else ()


@isolated
def graph_specs(recipe: Recipe) -> tuple[TensorSpec, ...]:
    """The inputs that the recipe's graph has, or would have."""
    part, architecture = part_of(recipe), recipe.architecture
    return (*inputs_of(part, architecture, recipe.origin.facts()), *_head_inputs(recipe))


@isolated
def graph_rules(recipe: Recipe, specs: Sequence[TensorSpec]) -> RowRules:
    """What a row of that graph may look like; what else the model takes is read off its own forward."""
    part, architecture = part_of(recipe), recipe.architecture
    rules = architecture.rules(recipe.origin.config(), specs)
    known = {spec.name for spec in specs}
    own = dict.fromkeys((name for name in inspect.signature(part.forward).parameters if name not in known), "")
    return replace(rules, left_out={**own, **OF_TRANSFORMERS, **rules.left_out})
