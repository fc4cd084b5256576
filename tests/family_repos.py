"""Whole sentence-transformers repos of twelve families: random weights, a tokenizer of its own, mixed modules.

Every weight is random, norms and biases too. The tokenizers are trained here, on real snippets, and saved through the
family's own class of transformers; nothing is downloaded but the snippets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling, WeightedLayerPooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from tests.real_text import articles, snippets
from tests.sweep.build import build
from tests.sweep.case import Case

WORDS = 600
POSITIONS = 48
LIMIT = 40
"""Tokens that a text keeps, by ``max_seq_length``; articles are longer."""

Modules = Callable[[], Sequence[nn.Module]]


@dataclass(frozen=True)
class Family:
    """A family's repo.

    Attributes:
        model_class, config: Of the encoder, without the size of its vocabulary.
        tokenizer: Makes the tokenizer.
        modules: Those behind the Transformer, with weights still to be made random.
        top: Keywords of ``SentenceTransformer``: prompts, ``truncate_dim``, …
        absolute: Positions are counted from the first column, padding too: sentence-transformers' own numbers for a row
            then depend on the batch when it pads on the left.
        transformer: Options of the Transformer module.
    """

    model_class: str
    config: dict[str, Any]
    tokenizer: Callable[[], Any]
    modules: Modules
    top: dict[str, Any] = field(default_factory=dict)
    absolute: bool = False
    transformer: dict[str, Any] = field(default_factory=lambda: {"max_seq_length": LIMIT})


def texts(count: int) -> list[str]:
    """Real texts of mixed lengths: words, sentences, and every ninth past the limit."""
    found = snippets(4 * count)[::4]
    found[::9] = articles()[: len(found[::9])]
    found[1::7] = [text.split()[0] for text in found[1::7]]
    return found


def write(family: Family, folder: Path) -> Path:
    """Writes the family's repo and returns its folder."""
    tokenizer = family.tokenizer()
    tokenizer.save_pretrained(folder / "hf")
    config = family.config | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    build(Case("", family.model_class, config, std=0.4)).save_pretrained(folder / "hf")
    parts = [Transformer(str(folder / "hf"), **family.transformer), *map(randomised, family.modules())]
    SentenceTransformer(modules=parts, device="cpu", **family.top).save(str(folder / "repo"), create_model_card=False)
    return folder / "repo"


def randomised(module: nn.Module) -> nn.Module:
    """The module with random parameters, those of a norm around 1."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in module.named_parameters():
        centre = 1.0 if name in ("norm.weight", "layer_weights") else 0.0
        parameter.data.normal_(centre, 0.4, generator=generator)
    return module.eval()


# ---------------------------------------------------------------------------------------------- tokenizers


@cache
def _trained(kind: str, specials: tuple[str, ...]) -> dict[str, Any]:
    """The model part of a tokenizer's JSON, trained on the snippets; the special tokens have the first ids."""
    common: dict[str, Any] = {"vocab_size": WORDS, "special_tokens": list(specials), "show_progress": False}
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=next(token for token in specials if "UNK" in token)))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(**common)
    elif kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            unk_token=next(token for token in specials if "unk" in token.lower()), **common
        )
    tokenizer.train_from_iterator(snippets(400), trainer)
    found: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return found


def _word_piece(name: str, *specials: str, **options: Any) -> Any:
    return getattr(transformers, name)(vocab=_trained("wordpiece", specials)["vocab"], **options)


def _bpe(name: str, *specials: str, **options: Any) -> Any:
    found = _trained("bpe", specials)
    merges = [tuple(pair) for pair in found["merges"]]
    return getattr(transformers, name)(vocab=found["vocab"], merges=merges, **options)


def _unigram(name: str, *specials: str, **options: Any) -> Any:
    pieces = [(piece, score) for piece, score in _trained("unigram", specials)["vocab"]]
    return getattr(transformers, name)(vocab=pieces, **options)


BERT_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_WORDS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def _modernbert() -> Any:
    found = _trained("bpe", BERT_WORDS)
    tokenizer = Tokenizer(models.BPE(found["vocab"], [tuple(pair) for pair in found["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends = [(token, found["vocab"][token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        **dict(zip(names, BERT_WORDS, strict=True)),
    )


# ---------------------------------------------------------------------------------------------- the families

_BERT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
}
_ROBERTA = _BERT | {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}
_ROPE = _BERT | {"max_position_embeddings": 2 * POSITIONS}
_RETRIEVAL = {"query": "query: ", "document": "passage: "}


FAMILIES: dict[str, Family] = {
    "bert": Family(
        "BertModel", _BERT, lambda: _word_piece("BertTokenizer", *BERT_WORDS),
        lambda: [Pooling(32), Dense(32, 24), Normalize()],
        {"prompts": _RETRIEVAL}, absolute=True,
    ),
    "roberta": Family(
        "RobertaModel", _ROBERTA, lambda: _bpe("RobertaTokenizer", *ROBERTA_WORDS),
        lambda: [Pooling(32, "cls"), LayerNorm(32), Dense(32, 20, activation_function=nn.GELU())],
        {"similarity_fn_name": "dot"},
    ),
    "xlm-roberta": Family(
        "XLMRobertaModel", _ROBERTA, lambda: _unigram("XLMRobertaTokenizer", *ROBERTA_WORDS),
        lambda: [Pooling(32, "mean_sqrt_len_tokens"), Dense(32, 32, False, None)],
        {"prompts": {"query": "query: ", "passage": "passage: "}, "truncate_dim": 12},
    ),
    "mpnet": Family(
        "MPNetModel", _ROBERTA,
        lambda: _word_piece("MPNetTokenizer", "<s>", "<pad>", "</s>", "[UNK]", "<mask>"),
        lambda: [Pooling(32, "max"), Dense(32, 16, activation_function=nn.LeakyReLU(), use_residual=True), Normalize()],
    ),
    "distilbert": Family(
        "DistilBertModel",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": POSITIONS},
        lambda: _word_piece("BertTokenizer", *BERT_WORDS, model_input_names=["input_ids", "attention_mask"]),
        lambda: [Pooling(32, "weightedmean", include_prompt=False), LayerNorm(32)],
        {"prompts": _RETRIEVAL}, absolute=True,
    ),
    "albert": Family(
        "AlbertModel", _BERT | {"embedding_size": 16},
        lambda: _unigram("AlbertTokenizer", "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
        lambda: [Pooling(32, "lasttoken"), Dense(32, 28, activation_function=nn.PReLU()), Dropout(0.3)],
        {"prompts": {"classification": "Classify: "}, "default_prompt_name": "classification"}, absolute=True,
    ),
    "deberta-v2": Family(
        "DebertaV2Model",
        _BERT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8}
        | {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False},
        lambda: _unigram("DebertaV2Tokenizer", *BERT_WORDS),
        lambda: [Pooling(32, ("mean", "cls", "max")), Dense(96, 32, activation_function=nn.SiLU())],
    ),
    "electra": Family(
        "ElectraModel", _BERT | {"embedding_size": 16, "output_hidden_states": True},
        lambda: _word_piece("BertTokenizer", *BERT_WORDS),
        lambda: [WeightedLayerPooling(32, num_hidden_layers=2, layer_start=1), Pooling(32), Normalize()],
        absolute=True, transformer={"max_seq_length": LIMIT, "do_lower_case": True},
    ),
    "modernbert": Family(
        "ModernBertModel", _ROPE | {"global_attn_every_n_layers": 2, "local_attention": 8}, _modernbert,
        lambda: [
            Dense(32, 24, activation_function=nn.ELU(), module_input_name="token_embeddings"),
            Pooling(24, ("cls", "mean_sqrt_len_tokens"), include_prompt=False),
        ],
        {"prompts": _RETRIEVAL},
    ),
    "nomic_bert": Family(
        "NomicBertModel", _ROPE, lambda: _word_piece("BertTokenizer", *BERT_WORDS),
        lambda: [Pooling(32), LayerNorm(32), Normalize()],
        {"prompts": {"query": "search_query: ", "document": "search_document: "}, "truncate_dim": 16},
    ),
    "t5": Family(
        "T5EncoderModel", {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
        lambda: _unigram("T5Tokenizer", "<pad>", "</s>", "<unk>", extra_ids=0),
        lambda: [Pooling(32), Dense(32, 24, False, nn.Identity()), Normalize()],
    ),
    "qwen3": Family(
        "Qwen3Model", _ROPE | {"num_key_value_heads": 2, "head_dim": 8},
        lambda: _bpe("Qwen2Tokenizer", "<|endoftext|>", "<|im_start|>", padding_side="left"),
        lambda: [Pooling(32, "lasttoken"), Normalize()],
        {"prompts": {"query": "Instruct: find what answers it\nQuery:", "document": ""}},
    ),
}  # fmt: skip
