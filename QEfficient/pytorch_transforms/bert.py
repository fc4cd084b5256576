"""Self-attention of the BERT family, safe in fp16.

transformers multiplies queries with keys first and scales after. With 64 wide heads the product is 8 times what
softmax needs, and in fp16 it may pass 65504. Here the scale is folded into the weights of the query projection, so
the large product never exists; that also takes one multiplication over (batch, heads, length, length) out of a layer.

The rewrite is for precision: on onnxruntime its speed is 0.96 to 1.07 of the original's (two threads, a busy machine).
A fused query-key-value projection is not used: ``benchmarks/rewrites.py`` runs two forms of it beside this one, at
MiniLM's size and six shapes, and their speed was 0.87 to 1.08 of the original's, below 1 in ten of twelve cases.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from QEfficient.pytorch_transforms.blocks import Block, scaled_layer


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """Attention over projected states, each of shape (batch, length, heads × width). The queries are scaled already.

    Args:
        query: What each token asks for.
        key: What each token answers to.
        value: What each token gives.
        heads: Number of heads.
        mask: Added to the logits, broadcast to (batch, heads, length, length).
        bias: Relative positions, added likewise.
    """
    batch, length = query.shape[:2]
    query, key, value = (t.view(batch, length, heads, -1).transpose(1, 2) for t in (query, key, value))
    logits = torch.matmul(query, key.transpose(2, 3))
    if bias is not None:
        logits = logits + bias
    if mask is not None:
        logits = logits + mask
    mixed = torch.matmul(logits.softmax(dim=-1), value)
    return mixed.transpose(1, 2).reshape(batch, length, -1)


def scale(old: Any) -> float:
    """What transformers multiplies the logits with: one over the root of a head's width."""
    return 1.0 / math.sqrt(old.attention_head_size)


def linear_like(old: Any) -> nn.Linear:
    """A linear layer of the same shape, its values still to come."""
    return nn.Linear(old.in_features, old.out_features, bias=old.bias is not None, dtype=old.weight.dtype)


class FoldedSelfAttention(Block):
    """In place of ``BertSelfAttention`` and its copies in other models: returns ``(states, None)``."""

    weights = scaled_layer("query", by=scale)

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.heads: int = old.num_attention_heads
        self.query, self.key, self.value = linear_like(old.query), linear_like(old.key), linear_like(old.value)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
        """As the old block, without attention weights and without a cache."""
        query, key, value = self.query(hidden_states), self.key(hidden_states), self.value(hidden_states)
        return attend(query, key, value, self.heads, attention_mask, None), None


class DistilSelfAttention(Block):
    """In place of ``DistilBertSelfAttention``, which holds the output projection too."""

    weights = scaled_layer("q_lin", by=scale)

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.heads: int = old.n_heads
        self.q_lin, self.k_lin, self.v_lin = linear_like(old.q_lin), linear_like(old.k_lin), linear_like(old.v_lin)
        self.out_lin = linear_like(old.out_lin)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
        """As the old block, without attention weights."""
        query, key, value = self.q_lin(hidden_states), self.k_lin(hidden_states), self.v_lin(hidden_states)
        return self.out_lin(attend(query, key, value, self.heads, attention_mask, None)), None


class MPNetSelfAttention(Block):
    """In place of ``MPNetSelfAttention``: output projection inside, relative positions as a bias."""

    weights = scaled_layer("q", by=scale)

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.heads: int = old.num_attention_heads
        self.q, self.k, self.v, self.o = linear_like(old.q), linear_like(old.k), linear_like(old.v), linear_like(old.o)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        output_attentions: bool = False,
        **_: Any,
    ) -> tuple[Tensor]:
        """As the old block, without attention weights."""
        query, key, value = self.q(hidden_states), self.k(hidden_states), self.v(hidden_states)
        return (self.o(attend(query, key, value, self.heads, attention_mask, position_bias)),)
