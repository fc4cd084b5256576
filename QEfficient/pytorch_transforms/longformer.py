"""Longformer with its windows as a mask over all pairs of tokens: the same sums, for any length.

transformers cuts a row into chunks, which fixes its length, and asks the data whether any token has global attention.
The price is memory: all pairs of a row of 4096 tokens are 67 MB a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from QEfficient.pytorch_transforms.bert import attend, linear_like
from QEfficient.pytorch_transforms.blocks import Block, scaled_layer
from QEfficient.pytorch_transforms.embedding import MASKED


def _scale(old: Any) -> float:
    return float(old.head_dim**-0.5)


class WindowedModel(Block):
    """In place of ``LongformerModel``: rows are not filled up to whole windows."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.config = old.config
        self.embeddings, self.encoder, self.pooler = old.embeddings, old.encoder, old.pooler

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        global_attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPooling:
        """As the old model, for token ids."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        for layer in self.encoder.layer:
            states = layer(states, attention_mask=mask, is_index_global_attn=global_attention_mask)[0]
        pooled = None if self.pooler is None else self.pooler(states)
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)


class WindowedSelfAttention(Block):
    """In place of ``LongformerSelfAttention``; its masks are 1 for a real token, and for one with global attention."""

    weights = scaled_layer("query", by=_scale) | scaled_layer("query_global", by=_scale)

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.heads, self.reach = int(old.num_heads), int(old.one_sided_attn_window_size)
        self.query, self.query_global = linear_like(old.query), linear_like(old.query_global)
        self.key, self.value = old.key, old.value
        self.key_global, self.value_global = old.key_global, old.value_global

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, is_index_global_attn: Tensor | None = None, **_: Any
    ) -> tuple[Tensor]:
        """A token sees its window and the global tokens; a global one sees all, by projections of its own."""
        places = torch.arange(hidden_states.shape[1])
        seen = ((places[:, None] - places).abs() <= self.reach)[None]
        if is_index_global_attn is not None:
            seen = seen | (is_index_global_attn[:, None, :] > 0)
        real = attention_mask[:, None, :] > 0
        states = self._attend(hidden_states, seen & real, self.query, self.key, self.value)
        if is_index_global_attn is not None:
            alone = self._attend(hidden_states, real, self.query_global, self.key_global, self.value_global)
            states = torch.where(is_index_global_attn[:, :, None] > 0, alone, states)
        return (states,)

    def _attend(self, states: Tensor, seen: Tensor, query: Any, key: Any, value: Any) -> Tensor:
        mask = (1.0 - seen.to(torch.float32))[:, None] * MASKED
        return attend(query(states), key(states), value(states), self.heads, mask, None)
