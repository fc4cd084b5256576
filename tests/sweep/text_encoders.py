"""Text encoders: every one of the installed transformers, one tiny config each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.sweep.build import tokens
from tests.sweep.case import LIMIT, VOCAB, Case, Inputs

BERT = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": LIMIT,
}
ROBERTA = BERT | {"max_position_embeddings": LIMIT + 2, "pad_token_id": 1, "type_vocab_size": 1}
LLAMA = BERT | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
XLM = {"n_words": VOCAB, "emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": LIMIT}
ROC = {"shape_embed_dim": 8, "shape_vocab_size": 9, "pronunciation_embed_dim": 8, "pronunciation_vocab_size": 9}
FUNNEL = {"vocab_size": VOCAB, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48}
XLNET = {"vocab_size": VOCAB, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
REFORMER = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_attention_heads": 4, "attention_head_size": 8, "feed_forward_size": 48,
    "attn_layers": ["local", "lsh"], "axial_pos_embds": False, "max_position_embeddings": LIMIT,
    "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "num_buckets": 4,
}  # fmt: skip
END = 3
GEMMA = LLAMA | {"head_dim": 8, "num_key_value_heads": 2}


def case(model_type: str, model_class: str, base: dict[str, Any] = BERT, /, **changes: Any) -> Case:
    """A case whose config is ``base`` with changes; the keywords of :class:`Case` go to the case."""
    fields = {name: changes.pop(name) for name in list(changes) if name in Case.__dataclass_fields__}
    return Case(model_type, model_class, base | changes, **fields)


def ended() -> list[Inputs]:
    """Rows that end with the token that fills them, as CLIP's tokenizer makes them; row 1 is padded on its left."""
    ids = tokens((3, 9, "none"))["input_ids"]
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    mask[2, 5:] = 0
    ids[mask == 0] = ids[:2, -1] = ids[2, 4] = END
    return [{"input_ids": ids, "attention_mask": mask}]


def ends(output: str) -> dict[str, Any]:
    """A case of those rows, and HuggingFace's result where another token fills them: so it finds each row's own end."""

    def call(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        return (model(input_ids=ids.where(mask.bool(), END + 1), attention_mask=mask)[output],)

    return {"eos_token_id": END, "pad_token_id": END, "inputs": ended, "call": call}


def quiet_paths(model: Any) -> None:
    """MarkupLM adds one path to every token that has none; as large as the rest it would drown the words."""
    model.embeddings.xpath_embeddings.inner2emb.weight.data *= 0.05


CASES: tuple[Case, ...] = (
    case("albert", "AlbertModel", embedding_size=16),
    case("altclip_text_model", "AltCLIPTextModel", ROBERTA, project_dim=16),
    case("bert", "BertModel"),
    case("bert-generation", "BertGenerationEncoder"),
    case(
        "big_bird",
        "BigBirdModel",
        max_position_embeddings=64,
        block_size=2,  # its sparse attention begins at 23 tokens
        shapes=((2, 22, "right"), (3, 7, "left"), (1, 1, "none")),
    ),
    case("blip_text_model", "BlipTextModel"),
    case("bros", "BrosModel", refused="box"),
    case("camembert", "CamembertModel", ROBERTA),
    case(
        "canine",
        "CanineModel",
        local_transformer_stride=8,
        num_hash_functions=4,
        num_hash_buckets=32,
        refused="one length",
    ),
    case("chinese_clip_text_model", "ChineseCLIPTextModel"),
    case("clap_text_model", "ClapTextModel", ROBERTA),
    case("clip_text_model", "CLIPTextModel"),
    case("clip_text_model", "CLIPTextModel", **ends("pooler_output"), pooling="pooler_output", variant="pooled"),
    case(
        "clip_text_model",
        "CLIPTextModelWithProjection",
        **ends("text_embeds"),
        projection_dim=16,
        variant="projected",
    ),
    case("clipseg_text_model", "CLIPSegTextModel"),
    case("convbert", "ConvBertModel", embedding_size=16),
    case("data2vec-text", "Data2VecTextModel", ROBERTA),
    case("deberta", "DebertaModel", relative_attention=True, pos_att_type=["c2p", "p2c"], max_relative_positions=8),
    case(
        "deberta-v2",
        "DebertaV2Model",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=8,
        share_att_key=True,
    ),
    case(
        "distilbert",
        "DistilBertModel",
        {
            "vocab_size": VOCAB,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": LIMIT,
        },
    ),
    case("dpr", "DPRQuestionEncoder", pooling="pooler_output"),
    case("electra", "ElectraModel", embedding_size=16),
    case(
        "embedding_gemma2_text",
        "EmbeddingGemma2TextModel",
        GEMMA,
        sliding_window=3,
        layer_types=["sliding_attention", "full_attention"],
        hidden_size_per_layer_input=8,
        global_head_dim=16,
        embedding_dim=16,
    ),
    case("ernie", "ErnieModel"),
    case("ernie", "ErnieModel", use_task_id=True, variant="tasks"),
    case("esm", "EsmModel", ROBERTA),
    case(
        "esm",
        "EsmModel",
        BERT,
        pad_token_id=1,
        position_embedding_type="rotary",
        token_dropout=True,
        mask_token_id=4,
        emb_layer_norm_before=False,
        variant="rotary",
    ),
    case("esmc", "EsmcModel", ROBERTA),
    case("eurobert", "EuroBertModel", LLAMA),
    case("flaubert", "FlaubertModel", XLM),
    case("flava_text_model", "FlavaTextModel"),
    case("fnet", "FNetModel"),
    case("funnel", "FunnelModel", FUNNEL, refused="one length"),
    case("gte", "GteModel"),
    case("ibert", "IBertModel", ROBERTA),
    case("jina_embeddings_v3", "JinaEmbeddingsV3Model", ROBERTA),
    case("layoutlm", "LayoutLMModel"),
    case("layoutlmv3", "LayoutLMv3Model", ROBERTA, coordinate_size=6, shape_size=4, input_size=32),
    case("lilt", "LiltModel", ROBERTA, hidden_size=48),
    case("longformer", "LongformerModel", ROBERTA, attention_window=4),
    case("luke", "LukeModel", ROBERTA, entity_vocab_size=9, entity_emb_size=8),
    case("markuplm", "MarkupLMModel", ROBERTA, max_depth=4, xpath_unit_hidden_size=4, prepare=quiet_paths),
    case("megatron-bert", "MegatronBertModel"),
    case("metaclip_2_text_model", "MetaClip2TextModel"),
    case(
        "mobilebert",
        "MobileBertModel",
        embedding_size=16,
        intra_bottleneck_size=16,
        num_feedforward_networks=2,
        std=0.3,
    ),
    case(
        "modernbert", "ModernBertModel", LLAMA, local_attention=6, layer_types=["sliding_attention", "full_attention"]
    ),
    case("mpnet", "MPNetModel", ROBERTA),
    case("mra", "MraModel", refused="CUDA"),
    case(
        "neomme",
        "NeoMMEModel",
        GEMMA | {"head_dim": 16},
        embedding_rank=8,
        sliding_window=3,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters=None,
    ),
    case("nomic_bert", "NomicBertModel", std=0.3),
    case("nystromformer", "NystromformerModel"),
    case(
        "openai_privacy_filter",
        "OpenAIPrivacyFilterModel",
        GEMMA,
        sliding_window=3,
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
    case(
        "perceiver",
        "PerceiverModel",
        {"d_model": 16, "d_latents": 16, "num_latents": 4, "num_self_attends_per_block": 1},
        refused="text",
    ),
    case("reformer", "ReformerModel", REFORMER, refused="random"),
    case("rembert", "RemBertModel", input_embedding_size=16, std=0.3),
    case("roberta", "RobertaModel", ROBERTA),
    case("roberta-prelayernorm", "RobertaPreLayerNormModel", ROBERTA),
    case("roc_bert", "RoCBertModel", **ROC),
    case("roc_bert", "RoCBertModel", **ROC, concat_input=False, variant="added"),
    case("roformer", "RoFormerModel"),
    case("splinter", "SplinterModel"),
    case("squeezebert", "SqueezeBertModel", embedding_size=32),
    case("tapas", "TapasModel"),
    case("tipsv2_text_model", "Tipsv2TextModel"),
    case("ultrabert", "UltrabertModel", LLAMA, sliding_window=3, layer_types=["sliding_attention", "full_attention"]),
    case("xclip_text_model", "XCLIPTextModel"),
    case("xlm", "XLMModel", XLM),
    case("xlm-roberta", "XLMRobertaModel", ROBERTA),
    case("xlm-roberta-xl", "XLMRobertaXLModel", ROBERTA),
    case("xlnet", "XLNetModel", XLNET),
    case("xmod", "XmodModel", ROBERTA, languages=["en_XX", "de_DE"], default_language="de_DE"),
    case("yoso", "YosoModel"),
)
