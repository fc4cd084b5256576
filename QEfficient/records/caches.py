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


Caches = tuple[LayerCache, ...]
"""One entry a layer."""
