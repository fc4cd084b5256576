"""Falcon's attention, whose keys and values are kept once for the heads that share them.

transformers repeats them before its cache: Falcon-40B would keep sixteen times as much.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

from QEfficient.pytorch_transforms.blocks import Block
from QEfficient.pytorch_transforms.grouped_attention import grouped_attention


class GroupedAttention(Block):
    """In place of ``FalconAttention``, with rotary positions.

    Its projection gives the query heads of a group, then their key and their value: all heads are one group with
    ``multi_query``, each is its own in the oldest models.
    """

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.query_key_value, self.dense = old.query_key_value, old.dense
        self.layer_idx, self.width = old.layer_idx, int(old.head_dim)
        self.groups = int(old.num_kv_heads)

    def forward(
        self,
        hidden_states: Tensor,
        alibi: Tensor | None,
        attention_mask: Tensor,
        layer_past: Any = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """States (batch, length, hidden) and a finished mask (batch, 1, length, keys) → the states, and no weights."""
        by_group = self.query_key_value(hidden_states).unflatten(-1, (self.groups, -1, self.width))
        query, key, value = by_group[..., :-2, :].flatten(2, 3), by_group[..., -2, :], by_group[..., -1, :]
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        assert position_embeddings is not None  # ALiBi is refused
        turned: Any = apply_rotary_pos_emb
        query, key = turned(query, key, *position_embeddings)
        if layer_past is not None:
            key, value = layer_past.update(key, value, self.layer_idx)
        mixed, _none = grouped_attention(self, query, key, value, attention_mask)
        return self.dense(mixed.flatten(2)), None
