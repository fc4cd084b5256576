"""LongT5's local attention as a mask over all pairs of tokens: the same sums, for any length.

transformers cuts a row into blocks, and the exporter would make a constant of their number. The price is memory: all
pairs of a row of 4096 tokens are 67 MB a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.longt5.modeling_longt5 import LongT5LocalAttention

from QEfficient.pytorch_transforms.bert import attend
from QEfficient.pytorch_transforms.blocks import Block
from QEfficient.pytorch_transforms.embedding import MASKED


class Stack(Block):
    """In place of ``LongT5Stack``, as an encoder."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.config = old.config
        self.embed_tokens, self.block, self.final_layer_norm = old.embed_tokens, old.block, old.final_layer_norm

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        """As the old stack, for token ids."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states, bias = self.embed_tokens(input_ids), None
        for block in self.block:
            states, bias = block(states, attention_mask=mask, position_bias=bias)
        return BaseModelOutput(last_hidden_state=self.final_layer_norm(states))


class LocalAttention(Block):
    """In place of ``LongT5LocalAttention``; its mask is 1 for a real token."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.q, self.k, self.v, self.o = old.q, old.k, old.v, old.o
        self.heads, self.reach = int(old.n_heads), int(old.local_radius)
        self.buckets = {
            "num_buckets": old.relative_attention_num_buckets, "max_distance": old.relative_attention_max_distance,
        }  # fmt: skip
        if old.has_relative_attention_bias:
            self.relative_attention_bias = old.relative_attention_bias

    def forward(
        self, hidden_states: Tensor, mask: Tensor, position_bias: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, Tensor]:
        """The first layer makes the bias, its window in it; the others take it over."""
        if position_bias is None:
            position_bias = self._bias(mask)
        query, key, value = self.q(hidden_states), self.k(hidden_states), self.v(hidden_states)
        return self.o(attend(query, key, value, self.heads, None, position_bias)), position_bias

    def _bias(self, mask: Tensor) -> Tensor:
        """Biases by distance, and :data:`MASKED` for what a token does not see: (rows, heads, length, length)."""
        places = torch.arange(mask.shape[1])
        away = places - places[:, None]
        bucket_of: Any = LongT5LocalAttention._relative_position_bucket
        buckets = bucket_of(away, **self.buckets)
        bias = self.relative_attention_bias(buckets).permute(2, 0, 1)[None]
        seen = (away.abs() <= self.reach) & (mask[:, None, None, :] > 0)
        out: Tensor = bias + (1.0 - seen.to(torch.float32)) * MASKED
        return out
