"""Torch → ONNX of a decoder: the graph whose caches are addressed by slot and position."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from QEfficient.build.decoder_caches import caches_of, is_tried, tried
from QEfficient.build.decoder_graph_check import check_decoder
from QEfficient.export.exporter import traced
from QEfficient.export.isolated import isolated
from QEfficient.onnx_transforms import DEFAULT, finish
from QEfficient.onnx_transforms.apply import PassFactory
from QEfficient.onnx_transforms.cache_functions import CacheFunctions
from QEfficient.onnx_transforms.key_positions import KeyPositions
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.pytorch_transforms.decoder import KEY_POSITIONS, DecoderModule
from QEfficient.pytorch_transforms.grouped_attention import NAME
from QEfficient.pytorch_transforms.rotary import tabulate
from QEfficient.records import Caches, OnnxModel
from QEfficient.runtime.spans import span
from QEfficient.tasks.text_generation import DecoderForm

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe


@isolated
def export_decoder(recipe: Recipe, form: DecoderForm, folder: Path) -> OnnxModel:
    """Torch → ONNX → graph passes.

    Args:
        recipe: What to export.
        form: Which graph of it.
        folder: Where the finished graph goes.

    Raises:
        NotYetSupportedError: Models of this type don't write text here, or were tried in vain.
        ExportError: The exporter refused the model.
        VerificationError: The graph does not give HuggingFace's logits.
    """
    with span("load"):
        caches = caches_of(recipe)
    with tried(recipe):
        return _checked(recipe, form, caches, folder)


def _checked(recipe: Recipe, form: DecoderForm, caches: Caches, folder: Path) -> OnnxModel:
    with span("load"):
        module = decoder_module(recipe, caches, form)
    inputs, outputs = (*form.inputs(caches), KEY_POSITIONS), form.outputs(caches)
    whole = next((f"past_key.{number}" for number, cache in enumerate(caches) if not cache.ring), None)
    passes: tuple[PassFactory, ...] = (partial(KeyPositions, whole), *DEFAULT, CacheFunctions)
    with span("export"), traced(module, inputs=inputs, outputs=outputs) as graph:
        exported = finish(graph, folder, passes=passes)
    del module, graph
    if recipe.verify == "on" or is_tried(recipe):
        with span("verify"):
            check_decoder(recipe, form, caches, exported)
    return exported


def decoder_module(recipe: Recipe, caches: Caches, form: DecoderForm) -> nn.Module:
    """The module that is exported."""
    architecture = recipe.architecture
    twin, _ = exportable(recipe.origin.module(), architecture.swaps(), attention=NAME)
    limit = architecture.max_length(recipe.origin.config())
    tabulate(twin, limit)
    names = [spec.name for spec in (*form.inputs(caches), KEY_POSITIONS)]
    return DecoderModule(twin, caches, names, limit).eval()
