"""Where the layers of transformers' models hold their attention and their feed-forward: one line a layout.

A unit is what can be taken out of a layer without changing what the others do: an attention head, or of grouped-query
attention a key and value head with all the query heads that share it; an inner value of the feed-forward. A unit owns
rows of the projections that make it, and columns of the one that reads it. Only the latter two are named here; how many
units there are is read from the shapes.

Not in the table is what has no such units: experts (a router chooses among them), convolutions, attention whose heads
share something, such as biases by distance for all layers (T5, MPNet) or one key for all (GPT-BigCode). A line is no
promise: attention that fits one may do more than its shapes show, so a cut is tried before it is offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UnitKind = Literal["heads", "feed_forward"]
"""What the units of a group are."""


@dataclass(frozen=True, slots=True)
class UnitLayout:
    """Where a block holds one kind of units.

    Attributes:
        inputs: Paths of the projections whose rows belong to units, relative to the block.
        output: Path of the projection whose columns do.
        parts: In how many equal parts, one after the other, the rows of each of ``inputs`` stand, each of which has all
            units in their order: 3 where queries, keys and values are made by one projection. ``0``: as many times as
            the rows are more than the columns of ``output``, as where a gate stands before what it opens.
        by_head: Queries, keys and values are made by one projection, for one head after the other.
    """

    inputs: tuple[str, ...]
    output: str
    parts: int = 1
    by_head: bool = False


def _heads(at: str, names: str, output: str, more: str = "") -> UnitLayout:
    """Attention whose projections stand side by side in one module, under names that end alike."""
    return UnitLayout(tuple(f"{at}{name}" for name in (*names.split(), *more.split())), output)


_QKV = "query key value"
_Q_PROJ = "q_proj k_proj v_proj"

LAYOUTS: dict[UnitKind, tuple[UnitLayout, ...]] = {
    "heads": (
        _heads("attention.self.", _QKV, "attention.output.dense"),  # BERT, RoBERTa, ELECTRA, …
        _heads("attention.self.", "query_proj key_proj value_proj", "attention.output.dense"),  # DeBERTa-v2, shared
        _heads("attention.attention.", _QKV, "attention.output.dense"),  # FLAVA
        _heads("attention.", _QKV, "attention.dense"),  # ALBERT
        _heads("attention.", "q_lin k_lin v_lin", "attention.out_lin"),  # DistilBERT
        _heads("", "q_lin k_lin v_lin", "out_lin"),  # XLM
        _heads("self_attn.", _Q_PROJ, "self_attn.o_proj"),  # Llama, Qwen, Mistral, …
        _heads("self_attn.", _Q_PROJ, "self_attn.out_proj"),  # CLIP, BART, OPT, Whisper
        _heads("self_attn.", _Q_PROJ, "self_attn.dense"),  # Phi
        _heads("self_attn.", "query_proj key_proj value_proj", "self_attn.out_proj"),  # ProphetNet
        _heads("self_attn.", "linear_q linear_k linear_v", "self_attn.linear_out"),  # Wav2Vec2-BERT
        _heads("attention.", _Q_PROJ, "attention.o_proj"),  # ViT
        _heads("attention.", _Q_PROJ, "attention.out_proj"),  # Wav2Vec2, AIMv2
        _heads("attn.", _Q_PROJ, "attn.out_proj"),  # GPT-J
        _heads("attn.", _Q_PROJ, "attn.Wo"),  # ModernBERT's decoder
        _heads("attn.attention.", _Q_PROJ, "attn.attention.out_proj"),  # GPT-Neo
        _heads("multi_head_attention.", "Wq Wk Wv", "multi_head_attention.dense"),  # CTRL
        UnitLayout(("attn.Wqkv",), "attn.Wo", parts=3),  # ModernBERT
        UnitLayout(("attn.c_attn",), "attn.c_proj", parts=3),  # GPT-2
        UnitLayout(("attention.query_key_value",), "attention.dense", by_head=True),  # GPT-NeoX
        UnitLayout(("self_attn.query_key_value",), "self_attn.dense", by_head=True),  # Persimmon
    ),
    "feed_forward": (
        UnitLayout(("intermediate.dense",), "output.dense"),  # BERT, RoBERTa, ELECTRA, MPNet, …
        UnitLayout(("ffn",), "ffn_output"),  # ALBERT
        UnitLayout(("ffn.lin1",), "ffn.lin2"),  # DistilBERT
        UnitLayout(("lin1",), "lin2"),  # XLM
        UnitLayout(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),  # Llama, Qwen, Mistral, …
        UnitLayout(("ffn.gate_proj", "ffn.up_proj"), "ffn.down_proj"),  # AIMv2
        UnitLayout(("mlp.gate_up_proj",), "mlp.down_proj", parts=0),  # Phi-3, GLM
        UnitLayout(("mlp.up_proj",), "mlp.down_proj"),  # Arcee, Nemotron
        UnitLayout(("mlp.fc1",), "mlp.fc2"),  # CLIP, ViT, Phi
        UnitLayout(("mlp.fc_in",), "mlp.fc_out"),  # GPT-J, CodeGen
        UnitLayout(("mlp.c_fc",), "mlp.c_proj"),  # GPT-2, StarCoder2
        UnitLayout(("mlp.Wi",), "mlp.Wo", parts=0),  # ModernBERT
        UnitLayout(("mlp.dense1",), "mlp.dense2"),  # Perceiver
        UnitLayout(("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h"),  # BLOOM, Falcon, GPT-NeoX
        UnitLayout(("fc1",), "fc2"),  # BART, OPT, Whisper
        UnitLayout(("ffn.fc1",), "ffn.fc2"),  # SeamlessM4T
        UnitLayout(("ffn.0",), "ffn.2"),  # CTRL
        UnitLayout(("ff.layer_1",), "ff.layer_2"),  # XLNet
        UnitLayout(("ffn.linear_1",), "ffn.linear_2"),  # Funnel
        UnitLayout(("feed_forward.intermediate_dense",), "feed_forward.output_dense"),  # Wav2Vec2
        UnitLayout(("feed_forward.intermediate",), "feed_forward.output"),  # ProphetNet
        UnitLayout(("feed_forward.dense.dense",), "feed_forward.output.dense"),  # Reformer
        UnitLayout(("layer.1.DenseReluDense.wi",), "layer.1.DenseReluDense.wo"),  # T5
        UnitLayout(("layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"), "layer.1.DenseReluDense.wo"),  # mT5
    ),
}
"""Kind → the layouts that are known; the first that a block fits is its own."""

OPTIONAL: tuple[str, ...] = (
    "attention.self.pos_key_proj",  # DeBERTa-v2 where positions have projections of their own
    "attention.self.pos_query_proj",
)
"""Further projections, where a block has them, whose rows belong to heads as those of queries do."""

HEAD_SIZES = ("head_dim", "attention_head_size", "head_size", "attention_head_dim")
"""Attributes of an attention module that say how wide a head is; the first that is there counts."""

HEAD_COUNTS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "num_key_value_heads", "num_kv_heads")
"""Attributes that say how many heads there are; they are set to what is left."""

KEY_COUNTS = ("num_key_value_heads", "num_kv_heads")
"""Those of them that count the keys' heads."""

TOTALS = ("all_head_size", "inner_dim", "split_size")
"""Attributes that say how wide all heads are together."""

FORWARD_WIDTHS = ("intermediate_size", "ffn_dim", "hidden_dim")
"""Attributes that say how wide a feed-forward is."""
