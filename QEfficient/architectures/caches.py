"""What the layers of a decoder keep of earlier tokens: rules from a config, for the types that write text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from QEfficient.records import Caches, Json, LayerCache


def every_position(config: Mapping[str, Json]) -> Caches:
    """Llama: every layer keeps all positions, and sees them all."""
    return (_layer(config),) * int(config["num_hidden_layers"])


def one_window(config: Mapping[str, Json]) -> Caches:
    """Mistral: every layer keeps all positions, and may see a window of them only."""
    return (replace(_layer(config), window=config.get("sliding_window")),) * int(config["num_hidden_layers"])


def windows_by_layer(config: Mapping[str, Json]) -> Caches:
    """Qwen: every layer keeps all positions; some see a window of them only."""
    return tuple(_of_kind(config, kind, ring=False) for kind in config["layer_types"])


def rings_by_layer(config: Mapping[str, Json]) -> Caches:
    """Gemma 3: layers that see a window keep that only."""
    return tuple(_of_kind(config, kind, ring=True) for kind in config["layer_types"])


def gpt2_layers(config: Mapping[str, Json]) -> Caches:
    """GPT-2: every layer keeps all positions, and sees them all; the config has names of its own."""
    heads = int(config["n_head"])
    return (LayerCache(heads, int(config["n_embd"]) // heads),) * int(config["n_layer"])


def _layer(config: Mapping[str, Json]) -> LayerCache:
    heads = int(config["num_attention_heads"])
    width = config.get("head_dim") or int(config["hidden_size"]) // heads
    return LayerCache(int(config.get("num_key_value_heads") or heads), int(width))


def _of_kind(config: Mapping[str, Json], kind: str, *, ring: bool) -> LayerCache:
    if kind != "sliding_attention":
        return replace(_layer(config), kind=kind)
    return replace(_layer(config), kind=kind, window=int(config["sliding_window"]), ring=ring)
