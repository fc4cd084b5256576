"""HuggingFace's decoder as a module whose forward is the graph that is exported: tokens and state in, and out again."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from QEfficient.pytorch_transforms.forward import forward_by_name
from QEfficient.pytorch_transforms.slot_cache import Placement, SlotCache, slots_of
from QEfficient.records import BATCH_INDEX, INPUT_IDS, NUM_LOGITS_TO_KEEP, POSITION_IDS, Caches, TensorSpec

KEY_POSITIONS = TensorSpec("key_positions", "int64", ("key_positions",))
"""Positions at which caches are read, 0, 1, …: an input of the trace only. A pass puts the count in its place, so that
a runtime may read less than the whole cache without another graph."""


class DecoderModule(nn.Module):
    """A causal language model over caches that are addressed by slot and position.

    Args:
        model: HuggingFace's, made ready by ``exportable``.
        caches: What its layers keep.
        inputs: Names of the graph's inputs.
        limit: How many positions it knows; ``None``: any.
    """

    def __init__(self, model: nn.Module, caches: Caches, inputs: Sequence[str], limit: int | None) -> None:
        super().__init__()
        self.model, self._caches, self._limit = model, caches, limit
        self._cache_name = cache_name(model)
        self.forward = forward_by_name(self.finish, inputs)

    def finish(self, arrays: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """The logits, and the state afterwards."""
        positions, index = arrays[POSITION_IDS], arrays.get(BATCH_INDEX)
        slots = None if index is None else slots_of(index, arrays["past_key.0"])
        cache = SlotCache(self._caches, Placement(positions, slots, arrays[KEY_POSITIONS.name]), arrays)
        given: dict[str, Any] = {self._cache_name: cache, "attention_mask": cache.mask}
        with head_of(self.model, last_places(positions, arrays.get(NUM_LOGITS_TO_KEEP))):
            output = self.model(
                input_ids=arrays[INPUT_IDS],
                position_ids=positions.clamp(0, None if self._limit is None else self._limit - 1),
                **given,
            )
        return (output.logits, *cache.updated.values())


def cache_name(model: nn.Module) -> str:
    """What a model calls the caches that it takes and gives: another name until transformers 5.23."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def last_places(positions: Tensor, kept: Tensor | None) -> Tensor:
    """Where the token of each row's largest position stands, behind those before it, ``(batch, kept)``."""
    last = positions.argmax(1, keepdim=True)
    if kept is None:
        return last
    count = kept.shape[0]
    return (last + torch.arange(count)[None] - (count - 1)).clamp(0)


@contextmanager
def head_of(model: Any, places: Tensor) -> Iterator[None]:
    """The head is given the states of these places only. transformers' ``logits_to_keep`` makes constants of sizes."""

    def pick(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (states,) = given
        return (torch.gather(states, 1, places[:, :, None].expand(-1, -1, states.shape[2])),)

    handle = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
