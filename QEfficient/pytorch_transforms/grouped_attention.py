"""Attention in plain operators, whose keys and values are not repeated for the query heads that share them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "qefficient_grouped"
"""transformers' name for :func:`grouped_attention`."""


def grouped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **settings: Any
) -> tuple[Tensor, None]:
    """Softmax attention, in transformers' form of an attention function.

    Query heads that share a key head are rows of one product with it: with 9 and 3 heads a cache of keys is then read
    once, where transformers' own code writes three copies of it.

    Args:
        module: The layer; not used.
        query: ``(batch, heads, length, width)``.
        key: ``(batch, shared heads, keys, width)``.
        value: Likewise.
        attention_mask: Added to the scores, ``(batch, 1 or shared heads, length, keys)``.
        **settings: ``scaling`` of the scores, and their ``softcap``.

    Returns:
        ``(batch, length, heads, width)``, and no weights.
    """
    batch, heads, length, width = query.shape
    shared, scaling, softcap = key.shape[1], settings.get("scaling"), settings.get("softcap")
    rows = query.reshape(batch, shared, heads // shared * length, width)
    scores = torch.matmul(rows, key.transpose(2, 3)) * (width**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    by_head = scores.reshape(batch, shared, heads // shared, length, -1) + attention_mask[:, :, None]
    weights = torch.softmax(by_head, dim=-1).reshape(batch, shared, heads // shared * length, -1)
    mixed = torch.matmul(weights, value).reshape(batch, heads, length, -1)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, grouped_attention)
