"""Tiny decoders of each type that writes text, their graphs, and a bare run of these in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers

from QEfficient.build.decoder_graph import export_decoder
from QEfficient.records import OnnxModel
from QEfficient.source.head import Head
from QEfficient.source.loaded_module import LoadedModule
from QEfficient.source.recipe import Recipe, recipe_of
from QEfficient.tasks.catalogue import TEXT_GENERATION
from QEfficient.tasks.text_generation import DecoderForm

LIMIT, VOCAB, WINDOW = 96, 97, 8

_COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": LIMIT,
}
_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _COMMON,
    "mistral": {**_COMMON, "sliding_window": WINDOW},
    "qwen2": {**_COMMON, "use_sliding_window": True, "sliding_window": WINDOW, "layer_types": _LAYERS},
    "qwen3": {**_COMMON, "head_dim": 16},
    "gemma3_text": {**_COMMON, "head_dim": 16, "sliding_window": WINDOW, "layer_types": _LAYERS},
    "gpt2": {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": LIMIT},
}


def tiny_decoder(model_type: str, *, seed: int = 0, spread: float = 0.4, **changes: Any) -> Any:
    """A model with random weights in eval mode. Biases and norms are random too."""
    config = transformers.AutoConfig.for_model(model_type, **{**CONFIGS[model_type], **changes})
    config.eos_token_id = config.bos_token_id = config.pad_token_id = None
    model = transformers.AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.empty(parameter.shape).normal_(0.0, spread, generator=generator)
        is_norm = ("norm" in name or ".ln_" in name) and name.endswith("weight")
        around = 0.0 if model_type.startswith("gemma") else 1.0  # Gemma's norms add 1
        parameter.data.copy_(noise * 0.2 + around if is_norm else noise)
    return model.eval()


def recipe_for(model: Any) -> Recipe:
    """What is exported of a model in memory."""
    return recipe_of(LoadedModule(model), Head(), TEXT_GENERATION, verify="off")


def exported(model: Any, folder: Path, form: DecoderForm | None = None) -> OnnxModel:
    """The model's graph."""
    return export_decoder(recipe_for(model), form or DecoderForm(), folder)


class Bare:
    """A graph in onnxruntime, every cache one buffer that is bound as input and output.

    Args:
        model: The graph.
        slots: First axis of the caches: with slots the last is the scratch slot, else it is the batch.
        ctx_len, window: The other sizes.
        fill: What the caches hold at first.
    """

    def __init__(
        self, model: OnnxModel, slots: int, ctx_len: int = 64, window: int = WINDOW, fill: float = np.nan
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
        sizes = {"batch_size": slots, "full_batch_size": slots, "ctx_len": ctx_len, "sliding_window": window}
        self.states: dict[str, np.ndarray] = {}
        self._values = {}
        for spec in model.inputs:
            if spec.name.startswith("past_"):
                shape = [sizes.get(str(dim), dim) for dim in spec.shape]
                self.states[spec.name] = np.full(shape, fill, np.float32)
                self._values[spec.name] = onnxruntime.OrtValue.ortvalue_from_numpy(self.states[spec.name])

    def run(self, output: str = "logits", **arrays: np.ndarray) -> np.ndarray:
        """The logits, or another output; the state is changed in place."""
        binding = self.session.io_binding()
        for name, array in arrays.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array, np.int64))
        for name, value in self._values.items():
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(f"{name}_RetainedState", value)
        binding.bind_output(output)
        self.session.run_with_iobinding(binding)
        return binding.get_outputs()[len(self._values)].numpy()

    def step(self, rows: Sequence[tuple[int | None, Sequence[int], int]], **more: Any) -> np.ndarray:
        """Rows of (slot, ids, first position), padded on the right; the logits, ``(rows, kept, vocabulary)``."""
        width = max(1, *(len(ids) for _, ids, _ in rows))
        ids = np.zeros((len(rows), width), np.int64)
        positions = np.full((len(rows), width), -1, np.int64)
        for row, (_, tokens, start) in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            positions[row, : len(tokens)] = np.arange(start, start + len(tokens))
        index = [[slot] for slot, _, _ in rows]
        slots: Mapping[str, Any] = {} if index[0][0] is None else {"batch_index": np.array(index)}
        return self.run(input_ids=ids, position_ids=positions, **slots, **more)


def greedy(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    """transformers' greedy tokens behind a prompt."""
    out = model.generate(
        torch.tensor([list(prompt)]), max_new_tokens=count, min_new_tokens=count, do_sample=False, use_cache=True
    )
    tokens: list[int] = out[0, len(prompt) :].tolist()
    return tokens


def own_logits(model: Any, ids: Sequence[int]) -> np.ndarray:
    """transformers' logits behind every token, without a cache: ``(tokens, vocabulary)``."""
    with torch.no_grad():
        found: np.ndarray = model(torch.tensor([list(ids)]), use_cache=False).logits[0].numpy()
    return found
