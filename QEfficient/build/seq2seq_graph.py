"""Torch → ONNX of an encoder with its decoder: one graph, which reads a source or goes on with the one it has."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from QEfficient.build.seq2seq_graph_check import check_seq2seq
from QEfficient.errors import NotYetSupportedError
from QEfficient.export.exporter import traced
from QEfficient.export.isolated import isolated
from QEfficient.onnx_transforms import DEFAULT, finish
from QEfficient.onnx_transforms.apply import PassFactory
from QEfficient.onnx_transforms.cache_functions import CacheFunctions
from QEfficient.onnx_transforms.key_positions import KeyPositions
from QEfficient.onnx_transforms.used_source import SOURCE_COUNT
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.pytorch_transforms.decoder import KEY_POSITIONS
from QEfficient.pytorch_transforms.seq2seq import NAME, SOURCE_POSITIONS, SourceModule
from QEfficient.records import SOURCE_DIM, Caches, OnnxModel
from QEfficient.runtime.spans import span
from QEfficient.tasks.text2text_generation import SourceForm

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe

_TRACED = (KEY_POSITIONS, SOURCE_POSITIONS)


@isolated
def export_seq2seq(recipe: Recipe, form: SourceForm, folder: Path) -> OnnxModel:
    """Torch → ONNX → graph passes.

    Args:
        recipe: What to export.
        form: Which graph of it.
        folder: Where the finished graph goes.

    Raises:
        NotYetSupportedError: Models of this type don't write about a source here.
        ExportError: The exporter refused the model.
        VerificationError: The graph does not give HuggingFace's logits.
    """
    with span("load"):
        caches = cross_caches_of(recipe)
        module = seq2seq_module(recipe, caches, form)
    inputs, outputs = (*form.inputs(caches), *_TRACED), form.outputs(caches)
    passes: tuple[PassFactory, ...] = (
        partial(KeyPositions, "past_key_self.0"),
        partial(KeyPositions, "past_key_cross.0", SOURCE_POSITIONS.name, SOURCE_COUNT),
        *DEFAULT,
        CacheFunctions,
    )
    limit = recipe.architecture.max_length(recipe.origin.config())
    limits = {} if limit is None else {SOURCE_DIM: limit}
    with span("export"), traced(module, inputs=inputs, outputs=outputs, limits=limits) as graph:
        exported = finish(graph, folder, passes=passes)
    del module, graph
    if recipe.verify == "on":
        with span("verify"):
            check_seq2seq(recipe, form, caches, exported)
    return exported


def cross_caches_of(recipe: Recipe) -> Caches:
    """What the layers of the model's decoder keep, of their own tokens and of the source alike. It loads the model.

    Raises:
        NotYetSupportedError: Models of this type don't write about a source here.
    """
    architecture, config = recipe.architecture, recipe.origin.config()
    architecture.check(config)
    rule = architecture.cross_layers_keep()
    if rule is None:
        raise NotYetSupportedError(
            f"Models of the type {architecture.model_type!r} can't write about a source until a later version.",
            got=f"model_type={architecture.model_type!r}",
            allowed="bart, m2m_100, marian, mbart, mt5, pegasus, t5",
            do="use transformers for this model, or choose one of another type",
        )
    model: Any = recipe.origin.module()
    return rule(model.config.to_dict())


def seq2seq_module(recipe: Recipe, caches: Caches, form: SourceForm) -> nn.Module:
    """The module that is exported."""
    architecture = recipe.architecture
    twin, _ = exportable(recipe.origin.module(), architecture.swaps(), attention=NAME)
    limit = architecture.max_length(recipe.origin.config())
    names = [spec.name for spec in (*form.inputs(caches), *_TRACED)]
    return SourceModule(twin, caches, names, limit).eval()
