"""ALiBi: scores fall with the distance of two tokens, and a model has no other positions.

transformers adds slope × place of the key, from which the softmax takes what is common to a row. In fp16 a place of
2,000 is good to 1 and no better. The distance itself is small wherever the score matters, so the graph holds that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from QEfficient.pytorch_transforms.blocks import Block, WeightRule
from QEfficient.pytorch_transforms.embedding import MASKED
from QEfficient.pytorch_transforms.grouped_attention import grouped_attention
from QEfficient.pytorch_transforms.slot_cache import SlotCache


def _bloom_slopes(heads: int) -> Tensor:
    return build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]  # at place 1


def _mpt_slopes(heads: int) -> Tensor:
    biases: Any = build_mpt_alibi_tensor
    slopes: Tensor = -biases(heads, 2)[:, 0, 0]  # one place before the last
    return slopes


class _Attention(Block):
    """Attention with a slope a head.

    Args:
        old: The block of transformers.
        heads: Its heads.
    """

    def __init__(self, old: Any, heads: int) -> None:
        super().__init__(old)
        self.heads, self.layer_idx = heads, old.layer_idx
        self.register_buffer("slopes", torch.empty(heads), persistent=False)

    def attend(self, projected: tuple[Tensor, ...], mask: Tensor, cache: SlotCache | None, scaling: float) -> Tensor:
        """Query, key and value, (batch, heads, length, width) each → (batch, length, hidden)."""
        query, key, value = projected
        length = query.shape[2]
        if cache is None:
            places = torch.arange(length)
            away = (places[None, :] - places[:, None])[None]
        else:
            key, value = cache.update(key, value, self.layer_idx)
            away = cache.rows.away
        bias = (self.get_buffer("slopes")[:, None, None] * away[:, None].to(torch.float32)).clamp(MASKED, 0.0)
        return grouped_attention(self, query, key, value, mask + bias, scaling=scaling)[0].flatten(2)


class BloomAttention(_Attention):
    """In place of ``BloomAttention``."""

    weights = {"slopes": WeightRule((), lambda tensors, old: _bloom_slopes(old.num_heads))}

    def __init__(self, old: Any) -> None:
        super().__init__(old, int(old.num_heads))
        self.query_key_value, self.dense, self.scaling = old.query_key_value, old.dense, float(old.inv_norm_factor)

    def forward(
        self,
        hidden_states: Tensor,
        residual: Tensor,
        alibi: Tensor | None,
        attention_mask: Tensor,
        layer_past: Any = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """States (batch, length, hidden) and a finished mask (batch, 1, length, keys) → the states, and no weights."""
        parts = self.query_key_value(hidden_states).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        mixed = self.attend((parts[0], parts[1], parts[2]), attention_mask, layer_past, self.scaling)
        return self.dense(mixed) + residual, None


class BloomModel(Block):
    """In place of ``BloomModel``, whose own makes its bias from a 2-D mask."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.config = old.config
        self.word_embeddings, self.word_embeddings_layernorm = old.word_embeddings, old.word_embeddings_layernorm
        self.h, self.ln_f = old.h, old.ln_f

    def get_input_embeddings(self) -> nn.Module:
        """The table of words, as transformers asks for it where it looks for the head."""
        found: nn.Module = self.word_embeddings
        return found

    def forward(
        self,
        input_ids: Tensor,
        cache: Any = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **_: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Ids (batch, length), with a finished mask or one of 0 and 1 → states (batch, length, hidden)."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if mask.ndim == 2:
            places = torch.arange(input_ids.shape[1])
            seen = (places[None, :] <= places[:, None]) & (mask[:, None, :] > 0)
            mask = (1.0 - seen.to(torch.float32))[:, None] * MASKED
        states = self.word_embeddings_layernorm(self.word_embeddings(input_ids))
        for block in self.h:
            states = block(states, alibi=None, attention_mask=mask, layer_past=cache or past_key_values)[0]
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.ln_f(states))


class MptAttention(_Attention):
    """In place of ``MptAttention``; its mask says True for what a token does not see."""

    weights = {"slopes": WeightRule((), lambda tensors, old: _mpt_slopes(old.n_heads))}

    def __init__(self, old: Any) -> None:
        super().__init__(old, int(old.n_heads))
        self.Wqkv, self.out_proj = old.Wqkv, old.out_proj
        self.scaling, self.clip = float(old.softmax_scale), old.clip_qkv

    def forward(
        self,
        hidden_states: Tensor,
        position_bias: Tensor,
        cache: Any = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """States (batch, length, hidden) and a mask (batch, 1, length, keys) → the states, and no weights."""
        projected = self.Wqkv(hidden_states)
        if self.clip:
            projected = projected.clamp(-self.clip, self.clip)
        parts = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        assert attention_mask is not None  # MptModel makes one
        mask = attention_mask.to(torch.float32) * MASKED
        mixed = self.attend((parts[0], parts[1], parts[2]), mask, cache or past_key_values, self.scaling)
        return self.out_proj(mixed), None
