"""Encoder halves of sequence-to-sequence models, one tiny config each."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tests.sweep.case import LIMIT, ROUTED, VOCAB, Case, Inputs, Shape

SHAPES: tuple[Shape, ...] = ((3, LIMIT, "right"), (3, 7, "left"), (1, 1, "none"))

T5: dict[str, Any] = {"vocab_size": VOCAB, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4}
BART: dict[str, Any] = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "max_position_embeddings": LIMIT,
    "pad_token_id": 1,
}
GEMMA: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": LIMIT,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
EYE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 28}
PROPHET: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "num_encoder_attention_heads": 4,
    "num_decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": LIMIT,
}
SEAMLESS = {"hidden_size": 32, "speech_encoder_layers": 1, "speech_encoder_attention_heads": 4} | {
    "speech_encoder_intermediate_size": 32, "t2u_encoder_layers": 1, "t2u_decoder_layers": 1,
}  # fmt: skip


def encoder_states(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    """A plain call of HuggingFace's encoder."""
    return (model.get_encoder()(**inputs)[0],)


def case(model_type: str, model_class: str, base: dict[str, Any] = BART, /, **changes: Any) -> Case:
    """A case whose config is ``base`` with changes; the keywords of :class:`Case` go to the case."""
    fields = {name: changes.pop(name) for name in list(changes) if name in Case.__dataclass_fields__}
    defaults = {"kind": "encoder half", "std": 0.3, "shapes": SHAPES, "call": encoder_states}
    return Case(model_type, model_class, base | changes, **(defaults | fields))


CASES: tuple[Case, ...] = (
    case("bart", "BartModel", encoder_layers=2),
    case("bigbird_pegasus", "BigBirdPegasusModel", block_size=4),
    case("blenderbot", "BlenderbotModel"),
    case("blenderbot-small", "BlenderbotSmallModel"),
    case("fsmt", "FSMTModel", src_vocab_size=300, tgt_vocab_size=300, langs=["en", "de"]),
    case("led", "LEDModel", max_encoder_position_embeddings=LIMIT, attention_window=8),
    case("longt5", "LongT5Model", T5, num_layers=2, local_radius=3),
    case(
        "longt5", "LongT5Model", T5, local_radius=3,
        encoder_attention_type="transient-global", variant="transient-global", refused="transient-global",
    ),
    case("m2m_100", "M2M100Model"),
    case("marian", "MarianModel", pad_token_id=0, decoder_start_token_id=0),
    case("mbart", "MBartModel"),
    case("mt5", "MT5Model", T5),
    case("mvp", "MvpModel"),
    case("nllb-moe", "NllbMoeModel", num_experts=4, expert_capacity=4, encoder_sparse_step=1, refused="neighbours"),
    case("pegasus", "PegasusModel"),
    case("pegasus_x", "PegasusXModel", block_size=4, num_global_tokens=2, refused="blocks"),
    case("plbart", "PLBartModel"),
    case("prophetnet", "ProphetNetModel", PROPHET),
    case("seamless_m4t", "SeamlessM4TForTextToText", BART | SEAMLESS),
    case(
        "switch_transformers", "SwitchTransformersModel", T5,
        num_layers=2, num_experts=4, expert_capacity=4, num_sparse_encoder_layers=1, fp16=ROUTED,
    ),
    case("t5", "T5Model", T5, num_layers=2),
    case("t5gemma", "T5GemmaModel", {"encoder": GEMMA, "decoder": GEMMA, "vocab_size": VOCAB}),
    case(
        "t5gemma2", "T5Gemma2Model", {"decoder": GEMMA, "vocab_size": VOCAB},
        encoder={"text_config": GEMMA, "vision_config": EYE | {"patch_size": 14}},
    ),
    case("umt5", "UMT5Model", T5, num_layers=2),
)  # fmt: skip
