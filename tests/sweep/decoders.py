"""Decoder-type embedders: a causal model whose last token is the row's vector, one tiny config each.

Windows are 8 tokens wide, so that a row of 24 is longer than they are, and one that is padded by more than 8 holds
tokens that see nothing but padding.
"""

from __future__ import annotations

from typing import Any

from tests.sweep.case import LIMIT, ROUTED, VOCAB, Case, Shape

SHAPES: tuple[Shape, ...] = (
    (7, LIMIT, "right"),  # the last row has 12 tokens of padding
    (5, 17, "left"),
    (1, 1, "none"),
)

LLAMA: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": LIMIT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = LLAMA | {"sliding_window": 8, "layer_types": ["sliding_attention"]}
BOTH = LLAMA | {
    "num_hidden_layers": 2, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip
EXPERTS = LLAMA | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
GPT2 = {
    "vocab_size": VOCAB, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": LIMIT,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FALCON = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
FALCON |= {"max_position_embeddings": LIMIT, "bos_token_id": 1, "eos_token_id": 2}


def case(model_type: str, model_class: str, base: dict[str, Any] = LLAMA, /, **changes: Any) -> Case:
    """A case whose config is ``base`` with changes; the keywords of :class:`Case` go to the case.

    One layer, where all layers of a model are alike and another case has two: each export costs.
    """
    fields = {name: changes.pop(name) for name in list(changes) if name in Case.__dataclass_fields__}
    defaults = {"kind": "text decoder", "std": 0.3, "shapes": SHAPES}
    return Case(model_type, model_class, base | changes, **(defaults | fields))


CASES: tuple[Case, ...] = (
    case("arcee", "ArceeModel"),
    case("biogpt", "BioGptModel", pad_token_id=1),
    case("bloom", "BloomModel", {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 1, "n_head": 4, "pad_token_id": 3}),
    case("codegen", "CodeGenModel", GPT2, rotary_dim=4),
    case("cohere", "CohereModel"),
    case("cohere2", "Cohere2Model", BOTH),
    case("ctrl", "CTRLModel", GPT2, dff=48),
    case("ernie4_5", "Ernie4_5Model"),
    case("exaone4", "Exaone4Model", BOTH),
    case("falcon", "FalconModel", FALCON),
    case("falcon", "FalconModel", FALCON, alibi=True, variant="alibi", refused="ALiBi"),
    case("gemma", "GemmaModel"),
    case("gemma2", "Gemma2Model", BOTH),
    case("gemma3_text", "Gemma3TextModel", BOTH),
    case("gemma3_text", "Gemma3TextModel", BOTH, use_bidirectional_attention=True, variant="bidirectional"),
    case("glm", "GlmModel", partial_rotary_factor=0.5),
    case("glm4", "Glm4Model", partial_rotary_factor=0.5),
    case("gpt2", "GPT2Model", GPT2, n_layer=2),
    case("gpt_bigcode", "GPTBigCodeModel", GPT2),
    case(
        "gpt_neo", "GPTNeoModel", LLAMA, num_hidden_layers=2, num_layers=2, num_heads=4,
        attention_types=[[["global", "local"], 1]], window_size=8,
    ),
    case("gpt_neox", "GPTNeoXModel", rotary_pct=0.5),
    case("gptj", "GPTJModel", GPT2, rotary_dim=4),
    case("granite", "GraniteModel", attention_multiplier=0.4, residual_multiplier=0.7, embedding_multiplier=3.0),
    case(
        "granitemoe", "GraniteMoeModel", num_local_experts=4, num_experts_per_tok=2, attention_multiplier=0.4,
        fp16=ROUTED,
    ),
    case("helium", "HeliumModel"),
    case("llama", "LlamaModel", num_hidden_layers=2),
    case("ministral", "MinistralModel", WINDOW),
    case("mistral", "MistralModel", sliding_window=8),
    case("mixtral", "MixtralModel", sliding_window=8, num_local_experts=4, fp16=ROUTED),
    case(
        "modernbert-decoder", "ModernBertDecoderModel", LLAMA, num_hidden_layers=2,
        local_attention=8, global_attn_every_n_layers=2, cls_token_id=1, sep_token_id=2,
    ),
    case(
        "mpt", "MptModel", {"vocab_size": VOCAB, "d_model": 32, "n_layers": 1, "n_heads": 4, "max_seq_len": LIMIT},
        pad_token_id=0,
    ),
    case("nemotron", "NemotronModel"),
    case("olmo", "OlmoModel"),
    case("olmo2", "Olmo2Model"),
    case("olmo3", "Olmo3Model", BOTH),
    case("openai-gpt", "OpenAIGPTModel", GPT2),
    case("opt", "OPTModel", ffn_dim=48, word_embed_proj_dim=32, pad_token_id=1),
    case("persimmon", "PersimmonModel"),
    case("phi", "PhiModel", partial_rotary_factor=0.5),
    case("phi3", "Phi3Model", WINDOW),
    case("qwen2", "Qwen2Model", WINDOW, use_sliding_window=True),
    case("qwen2_moe", "Qwen2MoeModel", EXPERTS, shared_expert_intermediate_size=16, fp16=ROUTED),
    case("qwen3", "Qwen3Model", BOTH, use_sliding_window=True),
    case("qwen3_moe", "Qwen3MoeModel", EXPERTS, fp16=ROUTED),
    case("smollm3", "SmolLM3Model", num_hidden_layers=2, no_rope_layers=[1, 0]),
    case("stablelm", "StableLmModel", partial_rotary_factor=0.25),
    case("starcoder2", "Starcoder2Model", WINDOW),
    case("xglm", "XGLMModel", d_model=32, num_layers=1, attention_heads=4, ffn_dim=48, pad_token_id=1),
)  # fmt: skip
