"""LED's encoder with its windows as a mask, as Longformer's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from QEfficient.pytorch_transforms.blocks import Block


class WindowedEncoder(Block):
    """In place of ``LEDEncoder``: rows are not filled up to whole windows."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.config = old.config
        self.embed_tokens, self.embed_positions = old.embed_tokens, old.embed_positions
        self.layernorm_embedding, self.layers = old.layernorm_embedding, old.layers

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        global_attention_mask: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutput:
        """As the old encoder, for token ids."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.layernorm_embedding(self.embed_tokens(input_ids) + self.embed_positions(input_ids.shape))
        for layer in self.layers:
            states = layer(states, attention_mask=mask, is_index_global_attn=global_attention_mask)[0]
        return BaseModelOutput(last_hidden_state=states)
