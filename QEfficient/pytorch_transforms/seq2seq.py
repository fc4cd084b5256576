"""HuggingFace's encoder with its decoder as one module, whose forward is the graph that is exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.modeling_outputs import BaseModelOutput

from QEfficient.pytorch_transforms.decoder import KEY_POSITIONS, cache_name, head_of, last_places
from QEfficient.pytorch_transforms.embedding import additive_mask
from QEfficient.pytorch_transforms.forward import forward_by_name
from QEfficient.pytorch_transforms.grouped_attention import grouped_attention
from QEfficient.pytorch_transforms.slot_cache import Placement, SlotCache, slots_of
from QEfficient.pytorch_transforms.source_cache import BothCaches, SourceCache
from QEfficient.records import BATCH_INDEX, INPUT_IDS, POSITION_IDS, SOURCE, Caches, TensorSpec

NAME = "qefficient_biased"
"""transformers' name for :func:`biased_attention`."""

SOURCE_POSITIONS = TensorSpec("source_positions", "int64", ("source_positions",))
"""Positions at which cross caches are read: an input of the trace only, as ``decoder.KEY_POSITIONS`` is."""


class SourceModule(nn.Module):
    """An encoder and its decoder, over caches that are addressed by slot and position.

    Args:
        model: HuggingFace's, made ready by ``exportable``; it is changed.
        caches: What the decoder's layers keep, of their own tokens and of the source alike.
        inputs: Names of the graph's inputs.
        limit: How many positions the decoder knows; ``None``: any.
    """

    def __init__(self, model: nn.Module, caches: Caches, inputs: Sequence[str], limit: int | None) -> None:
        super().__init__()
        self.model = model
        self._caches, self._limit = caches, limit
        theirs: Any = model
        self._pad = int(theirs.config.pad_token_id or 0)
        decoder = theirs.get_decoder()
        self._table: PositionTable | None = None
        if hasattr(decoder, "embed_positions"):
            self._table = decoder.embed_positions = PositionTable(decoder.embed_positions)
        self.bias = None if self._table is not None else DistanceBias(decoder.block[0].layer[0].SelfAttention)
        self._cache_name = cache_name(model)
        self.forward = forward_by_name(self.finish, inputs)

    def finish(self, arrays: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """The logits, and the state afterwards."""
        source, positions, index = arrays[SOURCE], arrays[POSITION_IDS], arrays.get(BATCH_INDEX)
        slots = None if index is None else slots_of(index, arrays["past_key_self.0"])
        own = SlotCache(self._caches, Placement(positions, slots, arrays[KEY_POSITIONS.name]), arrays, "_self")
        of_source = SourceCache(source, Placement(positions, slots, arrays[SOURCE_POSITIONS.name]), arrays)
        real = source >= 0
        model: Any = self.model
        states = model.get_encoder()(
            input_ids=torch.where(real, source, self._pad), attention_mask=additive_mask(real)
        ).last_hidden_state
        mask = own.mask
        assert isinstance(mask, Tensor)  # the layers are all of one kind
        if self.bias is not None:
            mask = mask + self.bias(positions, arrays[KEY_POSITIONS.name])
        given: dict[str, Any] = {self._cache_name: BothCaches(own, of_source)}
        with head_of(self.model, last_places(positions, None)), self._placed(arrays[INPUT_IDS], positions):
            output = model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=of_source.mask,
                decoder_input_ids=arrays[INPUT_IDS],
                decoder_attention_mask=mask,
                **given,
            )
        updated = own.updated | of_source.updated
        return (output.logits, *(updated[name] for name in arrays if name in updated))

    @contextmanager
    def _placed(self, ids: Tensor, positions: Tensor) -> Iterator[None]:
        """The decoder's table is asked for these positions, whatever its code counts."""
        if self._table is None:
            yield
            return
        places = self._table.places(ids, positions.clamp(0, None if self._limit is None else self._limit - 1))
        handle = self._table.register_forward_pre_hook(lambda *_: ((places,), {}), with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


class PositionTable(nn.Module):
    """A decoder's table of positions, learned or of sines, looked up by each row's own.

    Args:
        old: transformers' table: BART's and mBART's begin 2 rows late, M2M-100's behind its row for padding.
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        self._pad: int | None = old.padding_idx if hasattr(old, "weights") else None
        self._first: int = getattr(old, "offset", 0) if self._pad is None else self._pad + 1
        self.weight = nn.Parameter((old.weight if self._pad is None else old.weights).detach(), requires_grad=False)

    def places(self, ids: Tensor, positions: Tensor) -> Tensor:
        """The rows of tokens at these positions, ``(batch, length)``. M2M-100 gives its padding token none."""
        rows = positions + self._first
        return rows if self._pad is None else torch.where(ids == self._pad, self._pad, rows)

    def forward(self, places: Tensor) -> Tensor:
        """``(batch, length)`` → ``(batch, length, width)``."""
        return nn.functional.embedding(places, self.weight)


class DistanceBias(nn.Module):
    """T5's relative positions of a decoder: a bias for each head by how far back a key is.

    transformers computes a bucket of each distance by a logarithm, in every call. Here each distance has its row, so
    that no rounding of a logarithm, in fp16 say, takes one for its neighbour.

    Args:
        old: The attention that has the table of buckets; it hands out no bias any more.
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        self._farthest = int(old.relative_attention_max_distance)
        buckets = old._relative_position_bucket(
            -torch.arange(self._farthest + 1),
            bidirectional=False,
            num_buckets=old.relative_attention_num_buckets,
            max_distance=old.relative_attention_max_distance,
        )
        self.weight = nn.Parameter(old.relative_attention_bias.weight.detach()[buckets], requires_grad=False)
        old.has_relative_attention_bias = False

    def forward(self, positions: Tensor, keys: Tensor) -> Tensor:
        """``(batch, length)`` and ``(keys,)`` → ``(batch, heads, length, keys)``."""
        distances = (positions[:, :, None] - keys[None, None]).clamp(0, self._farthest)
        return nn.functional.embedding(distances, self.weight).permute(0, 3, 1, 2)


def biased_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    position_bias: Tensor | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """As ``grouped_attention``, with T5's bias of an encoder; a decoder's is part of its mask.

    Args:
        module: The layer.
        query: ``(batch, heads, length, width)``.
        key: ``(batch, heads, keys, width)``.
        value: Likewise.
        attention_mask: Added to the scores, ``(batch, 1 or heads, 1 or length, keys)``.
        position_bias: Likewise, ``(1, heads, length, keys)``.
        **settings: ``scaling`` of the scores.
    """
    if position_bias is not None and not module.is_decoder:
        attention_mask = attention_mask + position_bias
    return grouped_attention(module, query, key, value, attention_mask, **settings)


AttentionInterface.register(NAME, biased_attention)
