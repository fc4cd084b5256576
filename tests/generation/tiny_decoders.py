"""Tiny decoders of each type that writes text, their graphs, and a bare run of these in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
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

_TWO = {**_COMMON, "num_hidden_layers": 2}
_ALL_HEADS = {key: value for key, value in _TWO.items() if key != "num_key_value_heads"}
_WINDOW = {"sliding_window": WINDOW}
_BOTH = {**_WINDOW, "layer_types": _LAYERS[:2]}
_OWN_NAMES = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LIMIT}
_FALCON = {key: _TWO[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
_PICKS = {"num_experts_per_tok": 2}
_MULTIPLIERS = {
    "attention_multiplier": 0.4,
    "residual_multiplier": 0.7,
    "embedding_multiplier": 3.0,
    "logits_scaling": 2.0,
}

FIRST: dict[str, dict[str, Any]] = {
    "llama": _COMMON,
    "mistral": {**_COMMON, **_WINDOW},
    "qwen2": {**_COMMON, "use_sliding_window": True, "sliding_window": WINDOW, "layer_types": _LAYERS},
    "qwen3": {**_COMMON, "head_dim": 16},
    "gemma3_text": {**_COMMON, "head_dim": 16, "sliding_window": WINDOW, "layer_types": _LAYERS},
    "gpt2": {**_OWN_NAMES, "n_layer": 3},
}
"""One of each build: every test of decoders has them, every day."""

OTHERS: dict[str, dict[str, Any]] = {
    "bloom": {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "codegen": {**_OWN_NAMES, "rotary_dim": 4},
    "cohere": _TWO,
    "cohere2": {**_TWO, **_BOTH},
    "falcon": {**_FALCON, "max_position_embeddings": LIMIT},
    "gemma": {**_TWO, "head_dim": 16},
    "gemma2": {
        **_TWO, **_BOTH, "head_dim": 16, "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0,
    },
    "gpt_bigcode": _OWN_NAMES,
    "gpt_neox": {**_ALL_HEADS, "rotary_pct": 0.5},
    "gptj": {**_OWN_NAMES, "rotary_dim": 4},
    "granite": {**_TWO, **_MULTIPLIERS},
    "granitemoe": {**_TWO, **_MULTIPLIERS, **_PICKS, "num_local_experts": 4},
    "mixtral": {**_TWO, **_WINDOW, **_PICKS, "num_local_experts": 4},
    "mpt": {"vocab_size": VOCAB, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": LIMIT},
    "olmo": _TWO,
    "olmo2": _TWO,
    "olmo3": {**_TWO, **_BOTH},
    "opt": {**_ALL_HEADS, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi": {**_TWO, "partial_rotary_factor": 0.5},
    "phi3": {**_TWO, **_WINDOW},
    "qwen3_moe": {**_TWO, **_PICKS, "num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8},
    "smollm3": {**_TWO, "no_rope_layers": [1, 0]},
    "stablelm": {**_TWO, "partial_rotary_factor": 0.5},
    "starcoder2": {**_TWO, **_WINDOW},
}  # fmt: skip
"""The other types that are known to write text."""

CONFIGS = FIRST | OTHERS

TYPES = [*FIRST, *(pytest.param(name, marks=pytest.mark.sweep) for name in OTHERS)]
"""All types, for pytest: the first every day, of the others a third."""

_SCALED = {
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 24},
    "dynamic": {"factor": 2.0},
}  # fmt: skip
ROPES = {kind: {"rope_type": kind, "rope_theta": 100.0, **scaling} for kind, scaling in _SCALED.items()}
"""Rotary positions whose angles are scaled, as configs have them."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"llama by {kind}": ("llama", {"rope_parameters": rope}) for kind, rope in ROPES.items()},
    "bloom of six heads": ("bloom", {"n_head": 6, "hidden_size": 48, "apply_residual_connection_post_layernorm": True}),
    "cohere with norms": ("cohere", {"use_qk_norm": True}),
    "falcon in groups": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon of old": ("falcon", {"multi_query": False, "parallel_attn": False, "bias": True}),
    "gpt_bigcode of all heads": ("gpt_bigcode", {"multi_query": False}),
    "gpt_neox in sequence": ("gpt_neox", {"use_parallel_residual": False}),
    "mpt of six heads": ("mpt", {"n_heads": 6, "d_model": 48, "attn_config": {"clip_qkv": 0.8, "softmax_scale": 0.3}}),
    "opt with norms behind": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 16}),
    "phi3 by longrope": (
        "phi3",
        {
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0, 1.5, 2.0, 2.5],
                "long_factor": [2.0, 3.0, 4.0, 8.0],
                "original_max_position_embeddings": LIMIT // 2,
            },
            "original_max_position_embeddings": LIMIT // 2,
        },
    ),
    "phi with norms": ("phi", {"qk_layernorm": True}),
    "phi3 with a part turned": ("phi3", {"partial_rotary_factor": 0.5, "sliding_window": None}),
    "qwen3_moe with a window": ("qwen3_moe", {"use_sliding_window": True, **_WINDOW}),
    "smollm3 with windows": ("smollm3", {"use_sliding_window": True, **_BOTH}),
    "stablelm in parallel": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True}),
    "starcoder2 without a window": ("starcoder2", {"sliding_window": None}),
}
"""Other forms of a type's blocks, by what tells them: type and what differs in its config."""

LIMIT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""How configs call their most positions."""


def tiny_decoder(model_type: str, *, seed: int = 0, spread: float = 0.4, **changes: Any) -> Any:
    """A model with random weights in eval mode. Biases and norms are random too.

    Args:
        model_type: One of :data:`CONFIGS`, or another whose config has Llama's names.
        seed, spread: Of the weights.
        **changes: Of its config.
    """
    no_ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(model_type, **{**CONFIGS.get(model_type, _TWO), **no_ends, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.empty(parameter.shape).normal_(0.0, spread, generator=generator)
        is_norm = ("norm" in name or ".ln_" in name) and name.endswith("weight")
        around = 0.0 if model_type.startswith("gemma") else 1.0  # Gemma's norms add 1
        parameter.data.copy_(noise * 0.2 + around if is_norm else noise)
    return model.eval()


def one_layer(model_type: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What to change in a type's config for a first layer alone, beside other changes."""
    config = {**CONFIGS[model_type], **changes}
    counts = {key: 1 for key in ("num_hidden_layers", "n_layer", "n_layers") if key in config}
    return {**changes, **counts, **{key: value[:1] for key, value in config.items() if isinstance(value, list)}}


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
