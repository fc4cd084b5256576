"""Torch → ONNX of a decoder: the graph whose caches are addressed by slot and position."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from QEfficient.build.decoder_graph_check import check_decoder
from QEfficient.errors import NotYetSupportedError
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
        NotYetSupportedError: Models of this type don't write text here.
        ExportError: The exporter refused the model.
        VerificationError: The graph does not give HuggingFace's logits.
    """
    with span("load"):
        caches = caches_of(recipe)
        module = decoder_module(recipe, caches, form)
    inputs, outputs = (*form.inputs(caches), KEY_POSITIONS), form.outputs(caches)
    whole = next((f"past_key.{number}" for number, cache in enumerate(caches) if not cache.ring), None)
    passes: tuple[PassFactory, ...] = (partial(KeyPositions, whole), *DEFAULT, CacheFunctions)
    with span("export"), traced(module, inputs=inputs, outputs=outputs) as graph:
        exported = finish(graph, folder, passes=passes)
    del module, graph
    if recipe.verify == "on":
        with span("verify"):
            check_decoder(recipe, form, caches, exported)
    return exported


def caches_of(recipe: Recipe) -> Caches:
    """What the model's layers keep of earlier tokens. It loads the model: its config has every key.

    Raises:
        NotYetSupportedError: Models of this type, or this one, don't write text here.
    """
    architecture, config = recipe.architecture, recipe.origin.config()
    architecture.check(config)
    reason, rule = architecture.writes(config), architecture.layers_keep()
    if rule is None or reason is not None:
        raise NotYetSupportedError(
            f"Models of the type {architecture.model_type!r} can't write text"
            + (" until a later version." if reason is None else f" where {reason}."),
            got=f"model_type={architecture.model_type!r}",
            allowed="gemma3_text, gpt2, llama, mistral, qwen2, qwen3",
            do="use transformers for this model, or choose one of another type",
        )
    model: Any = recipe.origin.module()
    return rule(model.config.to_dict())


def decoder_module(recipe: Recipe, caches: Caches, form: DecoderForm) -> nn.Module:
    """The module that is exported."""
    architecture = recipe.architecture
    twin, _ = exportable(recipe.origin.module(), architecture.swaps(), attention=NAME)
    limit = architecture.max_length(recipe.origin.config())
    tabulate(twin, limit)
    names = [spec.name for spec in (*form.inputs(caches), KEY_POSITIONS)]
    return DecoderModule(twin, caches, names, limit).eval()
