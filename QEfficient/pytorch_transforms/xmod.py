"""X-MOD's adapters. transformers picks rows by language, which has no fixed shape; here all rows have one."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from QEfficient.pytorch_transforms.blocks import Block


class OneLanguageEncoder(Block):
    """In place of ``XmodEncoder``: tells every layer's output the language of the config."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.layer, self.is_pre_norm = old.layer, old.is_pre_norm
        if old.is_pre_norm:
            self.LayerNorm = old.LayerNorm
        for layer in old.layer:
            layer.output.language = str(old.config.default_language)

    def forward(
        self, hidden_states: Tensor, lang_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """As the old block, without a cache and without cross attention."""
        for layer in self.layer:
            hidden_states = layer(hidden_states, lang_ids, attention_mask)
        if self.is_pre_norm:
            hidden_states = self.LayerNorm(hidden_states)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden_states)


class OneLanguageOutput(Block):
    """In place of ``XmodOutput``: the adapter of one language for all rows."""

    language = ""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.dense, self.LayerNorm = old.dense, old.LayerNorm
        self.adapter_layer_norm, self.adapter_modules = old.adapter_layer_norm, old.adapter_modules
        self.ln_before_adapter, self.reuse = old.ln_before_adapter, old.adapter_reuse_layer_norm

    def forward(self, hidden_states: Tensor, input_tensor: Tensor, lang_ids: Tensor) -> Tensor:
        """As the old block; ``lang_ids`` all name :attr:`language`."""
        before = self.dense(hidden_states) + input_tensor
        states = before
        if self.adapter_layer_norm is not None:
            states = self.adapter_layer_norm(states)
        elif self.reuse:
            states = self.LayerNorm(states)
        adapted: Tensor = self.adapter_modules[self.language](states)
        residual: Tensor = states if self.ln_before_adapter else before
        return adapted + residual
