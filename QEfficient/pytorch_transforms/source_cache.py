"""The cross caches of a decoder's layers: the keys and values of a source, written once and read at every token.

A row that brings a source writes it; a row that brings none, all of whose encoder ids are below 0, reads what its slot
has. How much that is stands in a mask beside the caches, which is state as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import EncoderDecoderCache

from QEfficient.pytorch_transforms.slot_cache import NOWHERE, Placement, SlotCache, additive
from QEfficient.records import SOURCE_MASK


class SourceCache:
    """What transformers' cross attention takes for its ``Cache``.

    Args:
        source: Encoder ids, ``(batch, encoder_len)``: a row's tokens, then padding below 0; or padding alone.
        rows: Which slots; its ``keys`` are the positions of a source that are read, 0, 1, ….
        states: ``past_key_cross.N``, ``past_value_cross.N`` and the mask.

    Attributes:
        mask: Added to the scores of the source's keys, ``(batch, 1, 1, keys)``.
        updated: The state afterwards, by the inputs' names.
    """

    def __init__(self, source: Tensor, rows: Placement, states: Mapping[str, Tensor]) -> None:
        self._rows, self._states = rows, states
        held, real = states[SOURCE_MASK], source >= 0
        places, everywhere = torch.arange(source.shape[1])[None], torch.arange(held.shape[2])[None]
        self._written = torch.where(real & (places < held.shape[2]), places, NOWHERE)
        # The whole row, so that nothing is left of a longer source before it.
        count = real.sum(1, keepdim=True)
        fresh = (everywhere < count).to(torch.float32)[:, None, :, None]
        held = rows.scatter(held, torch.where(count > 0, everywhere, NOWHERE), fresh)
        length = (rows.gather(held, everywhere.expand(source.shape[0], -1)) > 0.5).sum(dim=(1, 2))  # NaN is not
        keys = rows.keys[None]
        self._read = torch.minimum(keys, (length - 1).clamp(0))  # what is read was written
        self.mask = additive((keys < length)[:, None])
        self.updated: dict[str, Tensor] = {SOURCE_MASK: held}

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """All keys and values of the source that a layer attends to."""
        read = []
        for kind, new in (("key", keys), ("value", values)):
            name = f"past_{kind}_cross.{layer_idx}"
            state = self._rows.scatter(self._states[name], self._written, new)
            self.updated[name] = state
            read.append(self._rows.gather(state, self._read))
        return read[0], read[1]


class BothCaches(EncoderDecoderCache):
    """A decoder's caches of its own tokens and of its source. Its code then computes the source's keys and values.

    Args:
        own: Of its own tokens.
        source: Of its source.
    """

    def __init__(self, own: SlotCache, source: SourceCache) -> None:
        self.self_attention_cache: Any = own
        self.cross_attention_cache: Any = source
        self.is_updated: dict[int, bool] = {}

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """0: positions are given, and not counted from here."""
        return 0
