"""What one layer of a network computes for a token, read from its config where the usual sizes do not say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from QEfficient.analysis.physics import GATED, layer_weights
from QEfficient.records import Json

ACTIVATIONS = ("hidden_act", "hidden_activation", "dense_act_fn", "activation_function", "activation")
GATES = frozenset({"silu", "swish"})
"""Activations that text models have in gates only."""
HEAD_SIZES = ("head_dim", "d_kv", "attention_head_size")
KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
EXPERT_SIZES = ("moe_intermediate_size", "intermediate_size")


def layer(config: Mapping[str, Json], model_type: str, sizes: Mapping[str, int]) -> dict[str, Json]:
    """The columns ``hidden_act``, ``gated``, ``layer_weights`` and ``layer_inner``.

    A mixture of experts counts with all of them: a compiled graph computes every one for every token.

    Args:
        config: A parsed ``config.json``.
        model_type: Its type.
        sizes: The table's columns for the network.
    """
    act, gated = _activation(config, model_type)
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    if config.get("intra_bottleneck_size") and config.get("use_bottleneck"):
        weights, inner = _bottleneck(config, width, inner)
    else:
        inner = _experts(config, inner)
        plain = layer_weights(width, inner, gated)
        weights = plain - 4 * width**2 + _attention(config, width, sizes["attention_heads"])
    named = {"hidden_act": act} if act else {}
    return {**named, "gated": gated, "layer_weights": weights, "layer_inner": inner}


def passes(config: Mapping[str, Json]) -> int:
    """How often a layer that is counted once runs: ALBERT's groups may hold several."""
    return size(config, ("inner_group_num",)) or 1


def _activation(config: Mapping[str, Json], model_type: str) -> tuple[str, bool]:
    """Its name, ``""`` where the config has none, and whether a third matrix gates it."""
    projection = config.get("feed_forward_proj")
    act = next((value for name in ACTIVATIONS if isinstance(value := config.get(name), str)), "")
    if isinstance(projection, str):  # T5 and its kin; what they call gated-gelu is the one with tanh
        kind = projection.removeprefix("gated-")
        act = "gelu_new" if projection == "gated-gelu" else kind
        return act, kind != projection
    return act, act in GATES or model_type in GATED


def _attention(config: Mapping[str, Json], width: int, heads: int) -> int:
    """Weights of queries, keys, values and output. Heads may be wider than their share, keys and values fewer."""
    head = size(config, HEAD_SIZES) or width // heads
    return 2 * width * head * (heads + (size(config, KEY_VALUE_HEADS) or heads))


def _experts(config: Mapping[str, Json], inner: int) -> int:
    experts = size(config, EXPERTS) or 1
    return experts * (size(config, EXPERT_SIZES) or inner) if experts > 1 else inner


def _bottleneck(config: Mapping[str, Json], width: int, inner: int) -> tuple[int, int]:
    """MobileBERT: a narrow layer between two projections, with several feed-forward blocks."""
    narrow, blocks = size(config, ("intra_bottleneck_size",)), size(config, ("num_feedforward_networks",)) or 1
    attention = 3 * narrow**2 + width * narrow  # values alone are made of the full width
    projections = 3 * width * narrow  # for queries and keys, for what is added to, and back
    return attention + projections + blocks * 2 * narrow * inner, blocks * inner


def size(config: Mapping[str, Json], names: Sequence[str]) -> int:
    """The first of these names that the config has a positive whole number under; 0: none."""
    values = (config.get(name) for name in names)
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0), 0)
