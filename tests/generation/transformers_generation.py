"""transformers' side of the comparisons: its processors for given parameters, tiny decoders, and a loop around them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from QEfficient.generation.settings_reading import parse_settings
from QEfficient.generation.strategies import NO_HOOKS, Hooks, strategies
from QEfficient.generation.strategy import Answer, Strategy

VOCABULARY = 23


@cache
def tiny_decoder(seed: int = 0, vocabulary: int = VOCABULARY) -> Any:
    """A Llama of one layer with random weights, wide enough apart that beams differ."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return transformers.LlamaForCausalLM(config).eval()


def processed(parameters: dict[str, Any], ids: Sequence[int], logits: NDArray[np.float32], prompt: int) -> Any:
    """The row behind transformers' processors for these parameters, as float32."""
    model = tiny_decoder()
    config, _ = model._prepare_generation_config(None, **parameters)
    model._prepare_special_tokens(config, device="cpu")
    config.max_length = prompt + config.max_new_tokens if config.max_new_tokens else prompt + 20
    if config.min_new_tokens is not None:
        config.min_length = prompt + config.min_new_tokens
    processors = model._get_logits_processor(
        config,
        input_ids_seq_length=prompt,
        encoder_input_ids=torch.tensor([list(ids[:prompt])]),  # what generate passes for a decoder
        device="cpu",
        model_kwargs={},
    )
    return processors(torch.tensor([list(ids)]), torch.from_numpy(logits.copy())[None])[0].numpy()


def follow(model: Any, strategy: Strategy, prompt: Sequence[int]) -> tuple[Answer, ...]:
    """Runs a strategy on a torch model's logits, without a cache."""
    rows = [list(prompt)]
    while True:
        with torch.inference_mode():
            logits = model(torch.tensor(rows)).logits[:, -1].float().numpy()
        step = strategy.advance(logits)
        if step.done:
            return strategy.answers()
        rows = [[*rows[parent], token] for parent, token in zip(step.parents, step.tokens, strict=True)]
        assert len(rows) <= strategy.rows


def ours(model: Any, prompt: Sequence[int], hooks: Hooks = NO_HOOKS, **parameters: Any) -> list[Answer]:
    """All answers to one prompt."""
    settings = parse_settings(keywords=parameters)
    most = settings.most_new_tokens(len(prompt), 256 - len(prompt), 20)
    made = strategies(settings, prompt, most, model.config.vocab_size, hooks)
    return [answer for strategy in made for answer in follow(model, strategy, prompt)]


def theirs(model: Any, prompt: Sequence[int], **parameters: Any) -> Any:
    """transformers' record for one prompt, with scores and logits."""
    everything = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, "use_cache": False}
    ids = torch.tensor([list(prompt)])
    with torch.inference_mode():
        return model.generate(ids, attention_mask=torch.ones_like(ids), **everything, **parameters)
