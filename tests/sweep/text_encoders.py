"""Text encoders: every one of the installed transformers, one tiny config each."""

from __future__ import annotations

from typing import Any

from tests.sweep.case import LIMIT, VOCAB, Case

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
GEMMA = LLAMA | {"head_dim": 8, "num_key_value_heads": 2}


def case(model_type: str, model_class: str, base: dict[str, Any] = BERT, /, **changes: Any) -> Case:
    """A case whose config is ``base`` with changes; the keywords of :class:`Case` go to the case."""
    fields = {name: changes.pop(name) for name in list(changes) if name in Case.__dataclass_fields__}
    return Case(model_type, model_class, base | changes, **fields)


CASES: tuple[Case, ...] = (
    case("albert", "AlbertModel", embedding_size=16),
    case("altclip_text_model", "AltCLIPTextModel", ROBERTA, project_dim=16),
    case("bert", "BertModel"),
    case("bert-generation", "BertGenerationEncoder"),
    case("big_bird", "BigBirdModel", block_size=4),
    case("blip_text_model", "BlipTextModel"),
    case("bros", "BrosModel"),
    case("camembert", "CamembertModel", ROBERTA),
    case("canine", "CanineModel"),
    case("chinese_clip_text_model", "ChineseCLIPTextModel"),
    case("clap_text_model", "ClapTextModel", ROBERTA),
    case("clip_text_model", "CLIPTextModel"),
    case("clipseg_text_model", "CLIPSegTextModel"),
    case("convbert", "ConvBertModel", embedding_size=16),
    case("data2vec-text", "Data2VecTextModel", ROBERTA),
    case("deberta", "DebertaModel", relative_attention=True, pos_att_type=["c2p", "p2c"]),
    case(
        "deberta-v2", "DebertaV2Model",
        relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8, share_att_key=True,
    ),
    case("distilbert", "DistilBertModel", {"vocab_size": VOCAB, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": LIMIT}),
    case("dpr", "DPRQuestionEncoder"),
    case("electra", "ElectraModel", embedding_size=16),
    case("embedding_gemma2_text", "EmbeddingGemma2TextModel", GEMMA),
    case("ernie", "ErnieModel"),
    case("esm", "EsmModel", ROBERTA),
    case("esmc", "EsmcModel", ROBERTA),
    case("eurobert", "EuroBertModel", LLAMA),
    case("flaubert", "FlaubertModel", XLM),
    case("flava_text_model", "FlavaTextModel"),
    case("fnet", "FNetModel"),
    case("funnel", "FunnelModel"),
    case("gte", "GteModel"),
    case("ibert", "IBertModel", ROBERTA),
    case("jina_embeddings_v3", "JinaEmbeddingsV3Model", ROBERTA),
    case("layoutlm", "LayoutLMModel"),
    case("layoutlmv3", "LayoutLMv3Model"),
    case("lilt", "LiltModel", ROBERTA),
    case("longformer", "LongformerModel", ROBERTA),
    case("luke", "LukeModel", ROBERTA),
    case("markuplm", "MarkupLMModel", ROBERTA),
    case("megatron-bert", "MegatronBertModel"),
    case("metaclip_2_text_model", "MetaClip2TextModel"),
    case("mobilebert", "MobileBertModel"),
    case("modernbert", "ModernBertModel", LLAMA),
    case("mpnet", "MPNetModel", ROBERTA),
    case("mra", "MraModel"),
    case("neomme", "NeoMMEModel"),
    case("nomic_bert", "NomicBertModel"),
    case("nystromformer", "NystromformerModel"),
    case("openai_privacy_filter", "OpenAIPrivacyFilterModel", GEMMA),
    case("perceiver", "PerceiverModel"),
    case("reformer", "ReformerModel"),
    case("rembert", "RemBertModel"),
    case("roberta", "RobertaModel", ROBERTA),
    case("roberta-prelayernorm", "RobertaPreLayerNormModel", ROBERTA),
    case("roc_bert", "RoCBertModel"),
    case("roformer", "RoFormerModel"),
    case("siglip2_text_model", "Siglip2TextModel"),
    case("siglip_text_model", "SiglipTextModel"),
    case("splinter", "SplinterModel"),
    case("squeezebert", "SqueezeBertModel"),
    case("tapas", "TapasModel"),
    case("tipsv2_text_model", "Tipsv2TextModel"),
    case("ultrabert", "UltrabertModel", LLAMA),
    case("xlm", "XLMModel", XLM),
    case("xlm-roberta", "XLMRobertaModel", ROBERTA),
    case("xlm-roberta-xl", "XLMRobertaXLModel", ROBERTA),
    case("xlnet", "XLNetModel"),
    case("xmod", "XmodModel", ROBERTA),
    case("yoso", "YosoModel"),
)
