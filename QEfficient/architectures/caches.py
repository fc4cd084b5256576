"""What the layers of a decoder keep of earlier tokens: rules from a config, for the types that write text.

A rule is given the loaded model's config under the names that most types have (:func:`alike`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from QEfficient.records import Caches, Json, LayerCache

KINDS = ("full_attention", "sliding_attention")
"""Kinds of layers that a rule knows, by transformers' names."""


def alike(config: Mapping[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    """A config under the names that most types have, beside its own.

    Args:
        config: Of the loaded model: it has every key.
        names: transformers' ``attribute_map`` of its class: the usual name → the type's own (``n_head``).
    """
    return {**config, **{name: config[own] for name, own in names.items() if own in config}}


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


def one_head(config: Mapping[str, Json]) -> Caches:
    """GPT-BigCode: every layer keeps all positions, and sees them all; all heads may share one key and value."""
    layer = _layer(config)
    return (replace(layer, kv_heads=1 if config["multi_query"] else layer.kv_heads),) * int(config["num_hidden_layers"])


def falcon_heads(config: Mapping[str, Json]) -> Caches:
    """Falcon: every layer keeps all positions, and sees them all; one key and value may serve all heads, or a group."""
    if config["new_decoder_architecture"]:
        return every_position({**config, "num_key_value_heads": config["num_kv_heads"]})
    return one_head(config)


def as_configured(config: Mapping[str, Json]) -> Caches:
    """A type that is not known: every layer keeps all positions, and sees of them what its config says.

    Raises:
        ValueError: The config names a kind of layer that keeps something else, or a window under another name: longer
            than any check goes, perhaps. Says which.
        KeyError: It does not say how many layers and heads there are.
    """
    unread = {key: value for key, value in config.items() if value and _OF_A_WINDOW.search(key) and key not in _READ}
    if unread:
        raise ValueError(f"no rule reads {', '.join(f'{key}={value!r}' for key, value in sorted(unread.items()))}")
    kinds = config.get("layer_types")
    if kinds:
        if others := sorted(set(kinds) - set(KINDS)):
            raise ValueError(f"it has layers of the kind {', '.join(map(repr, others))}")
        return windows_by_layer(config)
    unused = config.get("use_sliding_window") is False
    return one_window({**config, "sliding_window": None} if unused else config)


_OF_A_WINDOW = re.compile("window|chunk|local|sparse|attention_types|block_size|span")
_READ = ("sliding_window", "use_sliding_window", "max_window_layers", "sliding_window_pattern", "num_local_experts")


def t5_layers(config: Mapping[str, Json]) -> Caches:
    """T5's decoder: heads have a width of their own."""
    layers = config.get("num_decoder_layers") or config["num_layers"]
    return (LayerCache(int(config["num_heads"]), int(config["d_kv"])),) * int(layers)


def bart_layers(config: Mapping[str, Json]) -> Caches:
    """BART's decoder, and those of all that are as BART."""
    heads = int(config["decoder_attention_heads"])
    return (LayerCache(heads, int(config["d_model"]) // heads),) * int(config["decoder_layers"])


def _layer(config: Mapping[str, Json]) -> LayerCache:
    heads = int(config["num_attention_heads"])
    width = config.get("head_dim") or int(config["hidden_size"]) // heads
    return LayerCache(int(config.get("num_key_value_heads") or heads), int(width))


def _of_kind(config: Mapping[str, Json], kind: str, *, ring: bool) -> LayerCache:
    if kind != "sliding_attention":
        return replace(_layer(config), kind=kind)
    return replace(_layer(config), kind=kind, window=int(config["sliding_window"]), ring=ring)
