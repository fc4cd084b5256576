"""Model types whose facts are a few words: what each is as, and what differs. Sorted by name.

A line where it fits. A type with inputs or a rule of its own has a file instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from QEfficient.architectures.record import (
    ON_A_PAGE,
    Architecture,
    Config,
    boxes,
    never,
    never_pads,
    no_limit,
    positions,
    positions_after_pad,
    rotary,
)
from QEfficient.records import Json


@dataclass(frozen=True, slots=True)
class Likeness:
    """What the table says of a type, as :func:`like` takes it."""

    base: str | Callable[[Config], int | None]
    note: str
    facts: Mapping[str, Any]

    def over(self, base: Architecture, model_type: str) -> Architecture:
        """The facts of a type that differs from ``base`` as this line says."""
        rule: Any = base.limit  # those of the table all take a default
        facts: dict[str, Any] = {
            "caches": None,
            "crosses": None,
            "writes": never,
        }  # a type is known to write text, or it does not
        for name, fact in self.facts.items():
            match name:
                case "limit":
                    facts["limit"] = partial(rule, default=fact)
                case "pad_id":
                    facts["default_pad_id"] = fact
                case "block":
                    (ours,) = base.blocks.values()
                    facts["blocks"] = {fact: ours}
                case "refused" if isinstance(fact, str):
                    facts["refused"] = lambda config, reason=fact: reason
                case _:
                    facts[name] = fact
        return replace(base, model_type=model_type, **facts)


def like(base: str | Callable[[Config], int | None], note: str, **facts: Any) -> Likeness:
    """A line of the table.

    Args:
        base: The type that it is as; where there is none, the rule of its longest row.
        note: What the table of the docs says of it; of a refused type, where transformers' code shows the reason.
        **facts: What differs, by the fields of :class:`~QEfficient.architectures.record.Architecture`, some of them in
            short. ``limit``: what the rule takes where the config names no figure. ``pad_id``: its default.
            ``block``: the class of transformers in whose place the base's block stands. ``refused``: why no model of
            this type can be right; or :func:`unless`.
    """
    return Likeness(base, note, facts)


def unless(key: str, served: Json, why: str) -> Callable[[Config], str | None]:
    """For ``refused``: why a model is refused whose config has something else under ``key`` than what is served.

    Args:
        key: Of the config.
        served: The only value that is; a config without the key has this one, and where it is False, so has ``null``.
        why: What an error says.
    """

    def refused(config: Config) -> str | None:
        found = config.get(key, served)
        return None if found == served or (served is False and not found) else why

    return refused


WINDOWS = {"global_attention_mask": "a program has the windows, and of far tokens only those that a head asks for"}

# fmt: off
TABLE = {
    "aimv2_vision_model": like("vit", "AIMv2's image side: as ViT."),
    "albert": like(positions, "ALBERT: as BERT, with one layer that is used several times.", pad_id=0),
    "altclip_text_model": like("roberta",
        "The text half of AltCLIP: as RoBERTa, with 514 positions and one token type.", limit=514,
        block="altclip.AltRobertaSelfAttention"),
    "altclip_vision_model": like("vit", "AltCLIP's image side: as ViT."),
    "arcee": like("llama", "Arcee: as Llama, with squared ReLU.", limit=4096),
    "bart": like(positions, "BART: its encoder, with learned positions from 0; the table has two more.",
        limit=1024, pad_id=1, part="encoder", crosses="bart_layers"),
    "beit": like("vit", "BEiT: as ViT."),
    "bert": like(positions, "BERT: absolute positions from 0, two token types.",
        pad_id=0, mask="additive", blocks={"bert.BertSelfAttention": "bert.FoldedSelfAttention"}),
    "bert-generation": like("bert", "BertGeneration's encoder: as BERT, without token types.",
        block="bert_generation.BertGenerationSelfAttention"),
    "bigbird_pegasus": like("big_bird",
        "BigBird-PEGASUS: as BART, up to the length at which BigBird's sparse attention begins; "
        "longer ones are refused.",
        part="encoder", left_out={}),
    "biogpt": like(positions, "BioGPT: learned positions from 0; the table has two more, as OPT's.",
        limit=1024, pad_id=1),
    "bit": like("resnet", "BiT: as ResNet."),
    "blenderbot": like("mbart", "Blenderbot: as mBART.", limit=128, pad_id=0),
    "blenderbot-small": like("bart", "Blenderbot Small: as BART.", limit=512, pad_id=0),
    "blip_text_model": like(positions, "The text half of BLIP, read in both directions.", pad_id=0,
        left_out={"is_decoder": "it reads in both directions", "encoder_embeds": "no encoder stands before it"}),
    "bloom": like(no_limit, "BLOOM: ALiBi, a bias by distance, and no other positions; any length.",
        blocks={"bloom.BloomAttention": "alibi.BloomAttention", "bloom.BloomModel": "alibi.BloomModel"},
        caches="every_position"),
    "bros": like(positions, "BROS: ``BrosModel.forward`` raises without ``bbox``.",
        pad_id=0,
        refused="it needs a box on the page for every token (bbox), "
        "and a program must have one for texts without boxes"),
    "camembert": like("roberta", "CamemBERT: as RoBERTa.", block="camembert.CamembertSelfAttention"),
    "canine": like(positions, "CANINE: see the loops of ``CanineAttention.forward``.",
        limit=16384, pad_id=0,
        refused="it attends in chunks that a Python loop cuts, so that a graph could only take rows of one length"),
    "chinese_clip_text_model": like("bert", "The text half of Chinese-CLIP: as BERT.",
        block="chinese_clip.ChineseCLIPTextSelfAttention"),
    "chinese_clip_vision_model": like("vit", "Chinese CLIP's image side: as ViT."),
    "clap_text_model": like("roberta", "The text half of CLAP: as RoBERTa, with 514 positions and one token type.",
        limit=514, block="clap.ClapTextSelfAttention", projections={"ClapTextModelWithProjection": ("text_embeds",)}),
    "clip_text_model": like(positions,
        "The text half of CLIP: 77 positions; a token sees those before it, and a row's end token is the vector.",
        limit=77, pad_id=1, projections={"CLIPTextModelWithProjection": ("text_embeds",)}, ends=True),
    "clip_vision_model": like("vit", "CLIP's image side: as ViT.",
        projections={"CLIPVisionModelWithProjection": ("image_embeds",)}),
    "clipseg_text_model": like("clip_text_model", "The text half of CLIPSeg: as CLIP's.", projections={}),
    "clipseg_vision_model": like("vit", "CLIPSeg's image side: as ViT."),
    "codegen": like("gptj", "CodeGen: as GPT-J.", caches="every_position"),
    "cohere": like("llama", "Cohere: as Llama, with attention and MLP side by side.", limit=8192, pad_id=0,
        caches="every_position"),
    "cohere2": like("cohere", "Cohere 2: as Cohere, with windows in most layers.", caches="windows_by_layer"),
    "convbert": like(positions, "ConvBERT: as BERT, but convolutions along the row see the padding behind it.",
        pad_id=1, pads=never_pads),
    "convnext": like("resnet",
        "ConvNeXt: convolutions, any image size; the states are a map (channels, height, width)."),
    "convnextv2": like("convnext", "ConvNeXt V2: as ConvNeXt."),
    "ctrl": like("gpt2", "CTRL: a table of sines as positions.", limit=256),
    "data2vec-text": like("roberta", "data2vec's text encoder: as RoBERTa.",
        block="data2vec.modeling_data2vec_text.Data2VecTextSelfAttention"),
    "data2vec-vision": like("vit", "data2vec for images: as ViT."),
    "deberta": like(positions, "DeBERTa: relative positions, and none but them unless the config says so.", pad_id=0),
    "deberta-v2": like(positions,
        "DeBERTa-v2 and v3: relative positions in buckets; the limit is what it was trained for.", pad_id=0),
    "deit": like("vit", "DeiT: as ViT, with a distillation token."),
    "dinov2": like("resnet", "DINOv2: any image size, as it stretches its table of positions."),
    "dinov2_with_registers": like("dinov2", "DINOv2 with registers: as DINOv2."),
    "dinov3_convnext": like("resnet", "DINOv3's ConvNeXt: the states are the pooled map, then each place of the map."),
    "dinov3_vit": like("resnet", "DINOv3: rotary positions, any image size."),
    "distilbert": like(positions, "DistilBERT: absolute positions from 0, no token types.",
        pad_id=0, mask="additive", blocks={"distilbert.DistilBertSelfAttention": "bert.DistilSelfAttention"}),
    "dpr": like(positions, 'DPR: BERT, whose vector is that of the first token: pooling="pooler_output".', pad_id=0),
    "electra": like("bert", "ELECTRA: as BERT, with narrower embeddings.", block="electra.ElectraSelfAttention"),
    "embedding_gemma2_text": like(rotary, "EmbeddingGemma 2 on text: Gemma's layers, read in both directions.",
        limit=262144, pad_id=0),
    "ernie4_5": like("llama", "ERNIE 4.5: as Llama, with another order in each head.", limit=131072, pad_id=0),
    "esmc": like(rotary, "ESM C: rotary positions.",
        pad_id=1,
        left_out={"sequence_id": "a row of a program holds one sequence; pass the others as rows of their own"}),
    "eurobert": like(rotary, "EuroBERT: Llama's layers, read in both directions.", limit=8192, pad_id=128001),
    "exaone4": like("llama", "EXAONE 4: as Llama, with windows in most layers."),
    "falcon": like("llama", "Falcon: as Llama, with attention and MLP side by side.",
        blocks={"falcon.FalconAttention": "falcon.GroupedAttention"}, caches="falcon_heads",
        refused=unless("alibi", False, "its ALiBi is computed in bfloat16, which programs do not hold")),
    "flaubert": like("xlm", "FlauBERT: as XLM, without languages."),
    "flava_text_model": like(positions, "The text half of FLAVA: as BERT.", pad_id=0),
    "focalnet": like("resnet", "FocalNet: convolutions, any image size."),
    "fsmt": like("m2m_100", "FSMT: as M2M-100, with a vocabulary for each language."),
    "funnel": like(no_limit,
        "Funnel: ``FunnelAttentionStructure.get_position_embeds`` pools a Python list of the row's positions.",
        refused="its code counts positions in a Python list, so that a graph could only take rows of one length"),
    "gemma": like("llama", "Gemma: as Llama, with embeddings scaled up.", limit=8192, pad_id=0,
        caches="every_position"),
    "gemma2": like("gemma", "Gemma 2: as Gemma, with capped logits and windows in every other layer.",
        caches="windows_by_layer"),
    "gemma3_text": like("llama",
        "Gemma 3: as Gemma; also with a mask that sees both sides (``use_bidirectional_attention``).", limit=131072,
        pad_id=0, caches="rings_by_layer",
        writes=unless("use_bidirectional_attention", False, "its tokens see what stands behind them")),
    "glm": like("llama", "GLM: as Llama, turning half of each head.", limit=131072, pad_id=151329),
    "glm4": like("glm", "GLM-4: as GLM, with more norms."),
    "gpt2": like(partial(positions, key="n_positions"),
        "GPT-2: a table of learned positions from 0; left padding moves a row's tokens to later ones, "
        "as in HuggingFace.",
        limit=1024, zero_types=False, caches="every_position",
        writes=unless("add_cross_attention", False, "it reads an encoder's states")),
    "gpt_bigcode": like("gpt2", "GPT-BigCode: as GPT-2, with one key and value for all heads.",
        caches="one_head", writes=unless("add_cross_attention", False, "it reads an encoder's states")),
    "gpt_neo": like(positions,
        "GPT-Neo: learned positions from 0, windows in every other layer, logits that are not scaled.", limit=2048,
        zero_types=False),
    "gpt_neox": like("llama", "GPT-NeoX: rotary positions on a part of each head.", caches="every_position"),
    "gptj": like("gpt2", "GPT-J: rotary positions from a table of ``n_positions``.", limit=2048,
        caches="every_position"),
    "granite": like("llama", "Granite: as Llama, with multipliers.", caches="every_position"),
    "granitemoe": like("mixtral", "Granite MoE: as Granite, with a mixture of experts.",
        limit=2048, block="granitemoe.GraniteMoeExperts", caches="every_position"),
    "gte": like(rotary, "GTE: BERT with rotary positions.", limit=8192, pad_id=1),
    "helium": like("llama", "Helium: as Llama.", limit=4096, pad_id=3),
    "hiera": like("vit", "Hiera: as ViT."),
    "hubert": like("wav2vec2", "HuBERT: as wav2vec 2.0."),
    "ibert": like(positions_after_pad, "I-BERT: as RoBERTa, with blocks of its own.", pad_id=1),
    "ijepa": like("vit", "I-JEPA: as ViT, without a class token."),
    "jina_embeddings_v3": like(rotary, "Jina embeddings v3: XLM-RoBERTa with rotary positions.", limit=8194, pad_id=1),
    "layoutlm": like("bert",
        "LayoutLM: as BERT, with a box on the page for every token; without boxes transformers puts all at (0, 0).",
        mask="own", block="layoutlm.LayoutLMSelfAttention", more=boxes, loaded_by=ON_A_PAGE),
    "layoutlmv3": like(positions_after_pad,
        "LayoutLMv3 without its image: positions as RoBERTa's, a box for every token; "
        "without boxes all are at (0, 0).",
        pad_id=1, more=partial(boxes, ordered=False),  # transformers clips width and height to its table
        left_out={"pixel_values": "a program of it reads text and boxes, not the page's image"}),
    "led": like(partial(positions, key="max_encoder_position_embeddings"),
        "LED: BART's encoder with Longformer's attention; a window of tokens around each, as a mask.",
        limit=16384, pad_id=1, part="encoder", left_out=WINDOWS,
        blocks={"led.LEDEncoder": "led.WindowedEncoder",
            "led.LEDEncoderSelfAttention": "longformer.WindowedSelfAttention"}),
    "lilt": like(partial(positions_after_pad, default_pad_id=0),
        "LiLT: positions as RoBERTa's, a box for every token; without boxes transformers puts all at (0, 0).",
        pad_id=0, more=boxes),
    "llama": like(rotary,
        "Llama: rotary positions, and a causal mask that the model makes itself. Most decoders are as Llama.",
        caches="every_position"),
    "longformer": like(positions_after_pad,
        "Longformer: positions as RoBERTa's; a window of tokens around each, as a mask.", pad_id=1, left_out=WINDOWS,
        blocks={"longformer.LongformerModel": "longformer.WindowedModel",
            "longformer.LongformerSelfAttention": "longformer.WindowedSelfAttention"}),
    "longt5": like("t5", "LongT5: as T5, with local attention as a mask; the transient-global one is refused.",
        mask="own",
        blocks={"longt5.LongT5Stack": "longt5.Stack", "longt5.LongT5LocalAttention": "longt5.LocalAttention"},
        refused=unless("encoder_attention_type", "local",
            "the exporter makes a constant of the number of blocks that its transient-global attention averages")),
    "luke": like(positions_after_pad,
        "LUKE on words alone: positions as RoBERTa's; entities, which have a length of their own, are no input yet.",
        pad_id=1,
        left_out=dict.fromkeys(
            ("entity_ids", "entity_attention_mask", "entity_token_type_ids", "entity_position_ids", "entity_labels"),
            "entities have a length of their own, which a program can't hold yet")),
    "m2m_100": like("mbart", "M2M-100 and NLLB: as mBART, with a table of sines as positions.", crosses="bart_layers"),
    "marian": like("bart", "Marian: as BART, with a table of sines as positions.",
        pad_id=58100, crosses="bart_layers"),
    "mbart": like("bart", "mBART: as BART, with norms before the blocks.", crosses="bart_layers"),
    "megatron-bert": like(positions, "Megatron-BERT: as BERT, with the norm before each block.", pad_id=0),
    "metaclip_2_text_model": like("clip_text_model", "The text half of MetaCLIP 2: as CLIP's.",
        projections={"MetaClip2TextModelWithProjection": ("text_embeds",)}),
    "metaclip_2_vision_model": like("vit", "MetaCLIP 2's image side: as ViT.",
        projections={"MetaClip2VisionModelWithProjection": ("image_embeds",)}),
    "ministral": like("llama", "Ministral: as Llama, with windows in some layers.", limit=131072),
    "mistral": like("llama", "Mistral: as Llama; its own mask holds the window.", limit=131072,
        caches="one_window"),
    "mixtral": like("llama", "Mixtral: as Mistral, with a mixture of experts.",
        limit=131072, blocks={"mixtral.MixtralExperts": "moe.Experts"}, routed=True, caches="one_window"),
    "mlcd_vision_model": like("vit", "MLCD: as ViT, with rotary positions."),
    "mobilebert": like(positions,
        "MobileBERT: as BERT, but each token's embedding takes in its neighbours', and so the padding's.", pad_id=0,
        pads=never_pads),
    "modernbert": like(rotary, "ModernBERT: rotary positions, local attention in most layers.",
        limit=8192, pad_id=50283),
    "modernbert-decoder": like("llama", "ModernBERT as a decoder: windows in most layers.", limit=8192, pad_id=50283),
    "mpt": like(partial(positions, key="max_seq_len"), "MPT: ALiBi, as BLOOM.", limit=2048,
        blocks={"mpt.MptAttention": "alibi.MptAttention"}, caches="every_position"),
    "mra": like(positions, "MRA: ``mra2_attention`` returns zeros when the kernel is not loaded.",
        pad_id=1, refused="its attention is a CUDA kernel; on a CPU transformers puts zeros in its place"),
    "mt5": like("t5", "mT5: as T5.", crosses="t5_layers"),
    "mvp": like("bart", "MVP: as BART."),
    "nemotron": like("llama", "Nemotron: as Llama, with squared ReLU.", limit=4096),
    "neomme": like(rotary, "NeoMME on text alone: rotary positions, local attention in most layers.",
        limit=16384, pad_id=0, left_out={"pixel_values": "a program of it reads text alone"}),
    "nllb-moe": like("mbart", "NLLB-MoE: see ``NllbMoeTop2Router.route_tokens``.",
        refused="its experts take tokens by their place in the whole batch, "
        "so a row's numbers depend on its neighbours"),
    "nomic_bert": like(rotary, "Nomic's BERT: rotary positions, two token types.", pad_id=0),
    "olmo": like("llama", "OLMo: as Llama, with norms that have no weights.", pad_id=1,
        caches="every_position"),
    "olmo2": like("olmo", "OLMo 2: as Llama, with the norms behind the blocks.", caches="every_position"),
    "olmo3": like("olmo2", "OLMo 3: as OLMo 2, with windows in most layers.", caches="windows_by_layer"),
    "openai-gpt": like("gpt2", "The first GPT: a table of learned positions from 0.", limit=512),
    "openai_privacy_filter": like(rotary,
        "OpenAI's privacy filter: rotary positions, local attention, a mixture of experts.",
        limit=131072, pad_id=199999, routed=True,
        blocks={"openai_privacy_filter.OpenAIPrivacyFilterExperts": "moe.ClampedExperts"}),
    "opt": like(positions,
        "OPT: learned positions counted by the mask, so padding on either side changes nothing; "
        "the table has two more.",
        limit=2048, pad_id=1, caches="every_position"),
    "pegasus": like("mbart", "PEGASUS: as mBART, with a table of sines as positions.",
        pad_id=0, crosses="bart_layers"),
    "pegasus_x": like("bart", "PEGASUS-X: its attention cuts a row into blocks.",
        limit=16384, pad_id=0,
        refused="the exporter makes a constant of the number of blocks that its attention cuts a row into"),
    "perceiver": like(positions,
        "Perceiver: ``AutoModel`` makes a ``PerceiverModel`` without a preprocessor, which takes states and not ids.",
        limit=2048, refused="the bare model takes states, not text; its text side belongs to its task models"),
    "persimmon": like("llama", "Persimmon: as Llama, with norms on queries and keys.", limit=16384),
    "phi": like("llama", "Phi: as Llama, turning a part of each head.", caches="every_position"),
    "phi3": like("llama", "Phi-3: as Llama; the LongRoPE kinds take what they were first trained for, 4096 tokens.",
        limit=4096, pad_id=32000, caches="one_window"),
    "plbart": like("bart", "PLBART: as BART."),
    "poolformer": like("resnet", "PoolFormer: pooling in place of attention, any image size; the states are a map."),
    "prophetnet": like("bart", "ProphetNet: as BART; it computes with the mask, and so takes it as numbers.",
        limit=512, pad_id=0, mask="float"),
    "pvt_v2": like("resnet", "PVT v2: any image size; the states are a map."),
    "qwen2": like("llama", "Qwen2: as Llama, with biases in the projections.", limit=32768,
        caches="windows_by_layer"),
    "qwen2_moe": like("mixtral", "Qwen2 MoE: as Qwen2, with a mixture of experts.",
        limit=32768, block="qwen2_moe.Qwen2MoeExperts"),
    "qwen3": like("llama", "Qwen3: as Llama, with norms on queries and keys.", limit=32768,
        caches="windows_by_layer"),
    "qwen3_moe": like("mixtral", "Qwen3 MoE: as Qwen3, with a mixture of experts.",
        limit=32768, block="qwen3_moe.Qwen3MoeExperts", caches="one_window"),
    "reformer": like(positions,
        "Reformer: LSH attention turns by a random rotation, unless ``hash_seed`` fixes it for tests.", limit=4096,
        pad_id=0, refused="its attention hashes with random numbers, so two calls of one text differ"),
    "regnet": like("resnet", "RegNet: as ResNet."),
    "rembert": like(positions, "RemBERT: as BERT, with narrower embeddings.", pad_id=0),
    "roberta": like(positions_after_pad, "RoBERTa: as BERT, but positions are counted from pad id + 1 on.",
        pad_id=1, mask="additive", blocks={"roberta.RobertaSelfAttention": "bert.FoldedSelfAttention"}),
    "roberta-prelayernorm": like("roberta", "RoBERTa with the norm before each block: its positions are RoBERTa's.",
        block="roberta_prelayernorm.RobertaPreLayerNormSelfAttention"),
    "roformer": like(positions, "RoFormer: rotary positions from a table.", limit=1536, pad_id=0),
    "seamless_m4t": like("m2m_100", "SeamlessM4T: its text encoder, as M2M-100.",
        pad_id=0, left_out={"input_features": "a program of it is its text encoder"}),
    "segformer": like("resnet", "SegFormer's encoder: any image size; the states are a map."),
    "siglip_vision_model": like("vit",
        "SigLIP's image side: as ViT; its pooled output is an attention over the patches."),
    "smollm3": like("llama", "SmolLM3: as Llama, with layers that have no positions.", limit=32768, pad_id=128004,
        caches="windows_by_layer"),
    "splinter": like("bert", "Splinter: as BERT.",
        block="splinter.SplinterSelfAttention",
        left_out={"question_positions": "questions have a number of their own, and it answers the first one"}),
    "squeezebert": like(positions, "SqueezeBERT: as BERT, with grouped convolutions of width 1 for its linear layers.",
        pad_id=0),
    "stablelm": like("llama", "StableLM: as Llama, turning a part of each head.", limit=4096,
        caches="every_position"),
    "starcoder2": like("llama", "StarCoder 2: as Llama, with a window.", limit=4096, caches="one_window"),
    "swin": like("resnet", "Swin: windows over an image of any size."),
    "swinv2": like("swin", "Swin V2: as Swin."),
    "switch_transformers": like("t5",
        "Switch Transformers: as T5, with a mixture of experts; an expert takes a limited number of a row's tokens.",
        mask="own", routed=True,
        blocks={"switch_transformers.SwitchTransformersTop1Router": "moe.SwitchRouter",
            "switch_transformers.SwitchTransformersExperts": "moe.SwitchExperts"}),
    "t5": like(no_limit, "T5: its encoder, which has relative positions and so no limit of its own.",
        pad_id=0, mask="additive", part="encoder", crosses="t5_layers"),
    "tipsv2_text_model": like(positions, "The text half of TIPS v2: 64 positions.", limit=64, pad_id=0),
    "ultrabert": like(rotary, "UltraBERT: rotary positions, local attention in most layers.", limit=32768, pad_id=0),
    "umt5": like("t5", "UMT5: as T5, with relative positions of its own in every layer."),
    "unispeech": like("wav2vec2", "UniSpeech: as wav2vec 2.0."),
    "unispeech-sat": like("wav2vec2", "UniSpeech-SAT: as wav2vec 2.0."),
    "vit_mae": like("vit", "ViT-MAE: see ``ViTMAEEmbeddings.random_masking``.",
        refused="its encoder leaves out patches at random, so the same image never gives the same numbers"),
    "vit_msn": like("vit", "ViT-MSN: as ViT."),
    "wav2vec2-conformer": like("wav2vec2",
        "wav2vec 2.0 with Conformer layers: see ``Wav2Vec2ConformerRotaryPositionalEmbedding``.",
        refused="transformers keeps its positions from one call to the next, "
        "and the export makes a constant of their length"),
    "wavlm": like("wav2vec2", "WavLM: as wav2vec 2.0, with relative positions."),
    "xclip_text_model": like("clip_text_model",
        "The text half of X-CLIP: as CLIP's; it takes a row's largest id for its end.", projections={}),
    "xclip_vision_model": like("vit", "X-CLIP's image side: see ``XCLIPVisionEncoderLayer``.",
        refused="the rows of a batch are frames of one video, and a frame's numbers depend on the others"),
    "xglm": like(positions, "XGLM: a table of sines as positions.", limit=2048, pad_id=1),
    "xlm": like(positions, "XLM. No language is given, as transformers has it when it is called without langs.",
        pad_id=2, zero_types=False,
        left_out={"langs": "without them it adds no language at all, and no number stands for that",
            "lengths": "attention_mask says where a row ends"}),
    "xlm-roberta": like("roberta", "XLM-RoBERTa: as RoBERTa.", block="xlm_roberta.XLMRobertaSelfAttention"),
    "xlm-roberta-xl": like("roberta", "XLM-RoBERTa-XL: as RoBERTa, with 514 positions and one token type.",
        limit=514, block="xlm_roberta_xl.XLMRobertaXLSelfAttention"),
    "xlnet": like(no_limit,
        "XLNet: relative positions, so no limit of its own; read without token types, as its tokenizer gives none.",
        pad_id=5, mask="float", zero_types=False,
        left_out={"input_mask": "it is attention_mask with 0 and 1 the other way round; pass that one",
            **dict.fromkeys(("perm_mask", "target_mapping"), "a program attends from every token to every other"),
            **dict.fromkeys(("mems", "use_mems"), "a program keeps nothing between two calls")}),
    "yoso": like(positions,
        "YOSO: an attention of hashes, here by its expectation; its mask leaks, in HuggingFace's model too.",
        limit=4096, pad_id=1, pads=never_pads,
        refused=unless("use_expectation", True,
            "use_expectation=False hashes in a CUDA kernel that a CPU does not have")),
}
# fmt: on
