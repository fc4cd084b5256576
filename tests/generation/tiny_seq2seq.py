"""Tiny models of each type that writes about sources, and what transformers writes with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from QEfficient.source.head import Head
from QEfficient.source.loaded_module import LoadedModule
from QEfficient.source.recipe import Recipe, recipe_of
from QEfficient.tasks.catalogue import TEXT2TEXT_GENERATION

VOCAB, LIMIT = 97, 64

_T5 = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "d_kv": 12,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
_BART = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": LIMIT,
    "scale_embedding": True,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "t5": _T5,
    "mt5": {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "marian": {
        **_BART,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": VOCAB - 1,
        "decoder_start_token_id": VOCAB - 1,
    },
    "bart": {**_BART, "scale_embedding": False},
    "mbart": {**_BART, "decoder_start_token_id": 5},
    "m2m_100": _BART,
    "pegasus": {**_BART, "bos_token_id": None, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
}

SETTINGS: dict[str, dict[str, Any]] = {
    "marian": {"bad_words_ids": [[VOCAB - 1]]},
    "bart": {"forced_bos_token_id": 0, "forced_eos_token_id": 2, "no_repeat_ngram_size": 3, "min_length": 6},
    "mbart": {"forced_bos_token_id": 7},
    "m2m_100": {"forced_bos_token_id": 9},
    "pegasus": {"forced_eos_token_id": 1, "length_penalty": 0.8},
}
"""What such repos say in their ``generation_config.json``, where beams are many or few."""

_SINES = ("marian", "pegasus")


def tiny_seq2seq(model_type: str, *, seed: int = 0, spread: float = 0.25, **changes: Any) -> Any:
    """A model with random weights in eval mode. Biases, norms and ``final_logits_bias`` are random too.

    With a spread of 0.4 an mT5's own float32 is off by 4e-4, since its scores are not scaled.
    """
    config = transformers.AutoConfig.for_model(model_type, **{**CONFIGS[model_type], **changes})
    model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("embed_positions.weight") and model_type in _SINES:
            continue
        noise = torch.empty(parameter.shape).normal_(0.0, spread, generator=generator)
        is_norm = "norm" in name and name.endswith("weight")
        parameter.data.copy_(noise * 0.2 + 1.0 if is_norm else noise)
    bias = getattr(model, "final_logits_bias", None)
    if bias is not None:
        bias.normal_(0.0, 1.0, generator=generator)
    for name, value in SETTINGS.get(model_type, {}).items():
        setattr(model.generation_config, name, value)
    return model.eval()


def seq2seq_recipe(model: Any, verify: str = "off") -> Recipe:
    """What is exported of a model in memory."""
    return recipe_of(LoadedModule(model), Head(), TEXT2TEXT_GENERATION, verify=verify)


def sources(lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    """Random sources without special tokens, each ended by none."""
    generator = np.random.default_rng(seed)
    return [generator.integers(10, VOCAB - 1, length).tolist() for length in lengths]


def theirs(model: Any, source: Sequence[int], **keywords: Any) -> Any:
    """What transformers writes about one source."""
    ids = torch.tensor([list(source)])
    with torch.no_grad():
        return model.generate(ids, attention_mask=torch.ones_like(ids), **keywords)
