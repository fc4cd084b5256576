"""The stages that need torch. Imported only when the cache has no answer, or when the torch model itself is run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from QEfficient.architectures import Architecture, find
from QEfficient.auto.origin import RepoOrigin
from QEfficient.backends import registry
from QEfficient.backends.base import Arrays
from QEfficient.errors import ExportError
from QEfficient.export.exporter import LENGTH_DIM, export
from QEfficient.numerics.check import Array, check, check_padding, probes
from QEfficient.onnx_transforms import DEFAULT, apply
from QEfficient.onnx_transforms.layer_functions import LayerFunctions
from QEfficient.pytorch_transforms.blocks import exportable, structural_copy
from QEfficient.pytorch_transforms.embedding import EmbeddingModule, graph_inputs
from QEfficient.pytorch_transforms.head import Head
from QEfficient.records import Bucket, CompileOptions, Json, OnnxModel, Target, TensorSpec, TextFacts
from QEfficient.runtime.rows import from_arrays

if TYPE_CHECKING:
    from QEfficient.auto.stages import Recipe

PROBE_LENGTH = 768  # tokens of the longest check input: past what most models treat as near, or as short
SAFE_VOCABULARY = 256  # ids for a model whose config does not say how many it has


def export_graph(recipe: Recipe, raw: Path, folder: Path) -> OnnxModel:
    """Torch → ONNX → graph passes.

    Args:
        recipe: What to export.
        raw: Empty folder for the exporter's own graph.
        folder: Where the finished graph goes.
    """
    encoder, architecture = _encoder(recipe)
    twin, _ = exportable(encoder, architecture.swaps())
    inputs = graph_inputs(encoder)
    # A model with code of its own may carry a known model_type: only transformers' class is known to take that mask.
    known = type(encoder).__module__.startswith("transformers.")
    mask = architecture.mask_kind(recipe.origin.config()) if known else "own"
    module = EmbeddingModule(twin, _head(recipe), inputs, mask).eval()
    limit = architecture.max_length(recipe.origin.config())
    exported = export(module, inputs=inputs, outputs=recipe.outputs, folder=raw, length_limit=limit)
    if not recipe.head.steps and LENGTH_DIM not in exported.outputs[0].shape:
        raise ExportError(
            f"The graph of {recipe.origin.name!r} lost its free length: the model's code made a constant of it.",
            got=f"an output of shape {list(exported.outputs[0].shape)}",
            allowed=f"a shape with {LENGTH_DIM}",
            do="use a model whose forward takes any length",
        )
    if not recipe.functions:
        return apply(exported, folder)
    return replace(apply(exported, folder, passes=(*DEFAULT, LayerFunctions)), functions=True)


class _Reference(nn.Module):
    """A plain call of HuggingFace's model with exactly the caller's arrays, and the head behind it."""

    def __init__(self, encoder: nn.Module, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, **arrays: torch.Tensor) -> torch.Tensor:
        output = self.encoder(**arrays)
        vectors: torch.Tensor = self.head(output[0], arrays["attention_mask"])
        return vectors


def reference(recipe: Recipe, *, float32: bool) -> nn.Module:
    """HuggingFace's own blocks and masks, with the head behind them; a copy that shares the model's tensors.

    Args:
        recipe: Which model.
        float32: Compute in float32 whatever the weights' dtype.
    """
    encoder, _ = _encoder(recipe)
    twin = exportable(encoder)[0] if float32 else structural_copy(encoder)
    return _Reference(twin, _head(recipe)).eval()


def _encoder(recipe: Recipe) -> tuple[nn.Module, Architecture]:
    architecture = find(str(recipe.origin.config().get("model_type", "")))
    return architecture.encoder_of(recipe.origin.module()), architecture


def _head(recipe: Recipe) -> Head:
    origin = recipe.origin
    folder = origin.files.folder if isinstance(origin, RepoOrigin) else None
    head = Head(recipe.head.steps, folder=folder, pooling=recipe.head.function)
    config = origin.config()
    width = next((config[name] for name in ("hidden_size", "d_model", "dim") if name in config), None)
    if recipe.head.function is not None and isinstance(width, int):
        head.check(width)  # the caller's own code: a fault is named before the exporter meets it
    return head


def check_graph(recipe: Recipe, model: OnnxModel) -> dict[str, Json]:
    """The graph's numbers against HuggingFace's, on inputs that move what exporters get wrong."""
    config = recipe.origin.config()
    architecture = find(str(config.get("model_type", "")))
    inputs = {spec.name for spec in model.inputs}
    samples = probes(
        int(config.get("vocab_size") or SAFE_VOCABULARY),
        min(PROBE_LENGTH, architecture.max_length(config) or PROBE_LENGTH),
        architecture.pad_id(config) or 0,
        token_types="token_type_ids" in inputs,
    )
    torch_model = reference(recipe, float32=True)
    name = recipe.origin.name
    backend = registry.get("onnxruntime")
    target = Target(backend=backend.name, compute=backend.compute[0])
    with tempfile.TemporaryDirectory(dir=model.path.parent) as folder:
        program = backend.compile(model, (Bucket(PROBE_LENGTH),), target, CompileOptions(), Path(folder))
        with backend.open(program) as session:
            result = check(
                lambda arrays: _run_reference(torch_model, arrays, name),
                lambda arrays: session.run(arrays)[recipe.outputs[0]],
                samples,
                name,
            )
    # Last: some models (BigBird) change how they attend for good once they met a short row.
    what = "The pooling function" if recipe.head.function is not None else f"HuggingFace's own {name!r}"
    check_padding(lambda arrays: _run_reference(torch_model, arrays, name), samples, what)
    return {"verify": "on", **result}


def _run_reference(module: nn.Module, arrays: Mapping[str, Array], name: str) -> Array:
    try:
        return _run_module(module, arrays)
    except Exception as error:  # a model's code may fail in any way
        length = arrays["input_ids"].shape[1]
        raise ExportError(
            f"HuggingFace's own model {name!r} fails on a row of {length} tokens, so its limits are not known here.",
            got=f"{type(error).__name__}: {error}",
            allowed="a model that takes every length from 1 to its limit",
            do="add a file for its model_type with the limit (docs: Add an architecture), "
            'or take the risk with verify="off"',
        ) from error


def _run_module(module: nn.Module, arrays: Mapping[str, Array]) -> Array:
    with torch.no_grad():
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        output: Array = module(**tensors).float().numpy()
        return output


def run_torch(recipe: Recipe, inputs: Mapping[str, Any], text: TextFacts, limit: int | None) -> Arrays:
    """``generate(…, runtime_ai100=False)``: the torch model on the caller's arrays, checked and cut back alike."""
    encoder, _ = _encoder(recipe)
    specs = [TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in graph_inputs(encoder)]
    rows = from_arrays(inputs, specs, max_length=limit, buckets=())
    fill = {"input_ids": text.pad_id, "token_type_ids": text.pad_type_id}
    arrays: dict[str, Array] = {}
    for name, column in rows.columns.items():
        array = np.full((len(rows), rows.width), fill.get(name, 0), dtype=np.int64)
        for index, row in enumerate(column):
            array[index, : len(row)] = row
        arrays[name] = array
    output = np.array(_run_module(reference(recipe, float32=False), arrays))
    if output.ndim == 3:
        for index, length in enumerate(rows.lengths):
            output[index, length:] = 0.0
    return {recipe.outputs[0]: output}
