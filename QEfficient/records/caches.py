"""What the layers of a decoder keep of earlier tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The cache of one layer.

    Attributes:
        kv_heads: Heads of its keys and values.
        head_dim: Width of each.
        window: How many positions a token sees, the last of them its own; ``None``: all up to its own.
        ring: True where the cache holds the last positions only, each at its number modulo the cache's length.
        kind: HuggingFace's name of the layer's kind, where the model takes a mask for each kind; else ``""``.
    """

    kv_heads: int
    head_dim: int
    window: int | None = None
    ring: bool = False
    kind: str = ""


INPUT_IDS, POSITION_IDS, BATCH_INDEX = "input_ids", "position_ids", "batch_index"
"""A decoder's inputs, by the vendor's names: tokens, the position of each, −1 for padding, and the slot of each row."""

NUM_LOGITS_TO_KEEP = "num_logits_to_keep"
"""An input of which only the length counts, and the dim that is this length: last positions of a row with logits."""

SOURCE, SOURCE_DIM = "encoder_input_ids", "encoder_len"
"""A graph's input of what an encoder reads, −1 behind it; and the dim that is its width, 1 where it reads nothing."""

SOURCE_MASK = "past_mask_cross"
"""State: 1 where a slot's cross caches hold a token of its source, else 0. Both are exact in every precision."""

RETAINED, INTERNAL = "_RetainedState", "_InternalRetainedState"
"""What stands behind a state's name where a graph gives its next value; the vendor's exporter writes the second one
inside functions."""

Caches = tuple[LayerCache, ...]
"""One entry a layer."""
