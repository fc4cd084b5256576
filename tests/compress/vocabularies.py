"""Small tokenizers of the three kinds, trained on made-up texts, and small models that read with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    f"{who} {does} the {thing} {where}"
    for who in ("a cat", "the dog", "nobody", "everybody", "a catalogue")
    for does in ("chases", "chased", "is chasing", "eats", "eaten by")
    for thing in ("mouse", "mousetrap", "bird", "birdhouse", "ünder dög")
    for where in ("in the garden", "behind the house", "today")
]


def wordpiece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=260, special_tokens=special, **QUIET))
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.decoder = decoders.WordPiece()
    return made


def byte_level() -> Tokenizer:
    """As GPT-2 and RoBERTa have it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    asked = trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, special_tokens=special, **QUIET)
    made.train_from_iterator(TEXTS, asked)
    made.add_special_tokens(["<mask>"])
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    made.decoder = decoders.ByteLevel()
    return made


def with_bytes() -> Tokenizer:
    """As Llama has it: a token may be merged in any way, and characters that it lacks become bytes."""
    pieces = [piece for piece in byte_level().get_vocab() if piece.isalpha() and piece.isascii()]
    words = {"▁" + word for text in TEXTS for word in text.split()} | set(pieces)
    names = sorted(
        {word[:end] for word in words for end in range(1, len(word) + 1)}, key=lambda name: (len(name), name)
    )
    names += sorted({word[start:] for word in words for start in range(len(word))} - set(names))
    names = [name for name in names if name != "ü"]
    special = ["<unk>", "<s>", "</s>"]
    bytes_of = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {name: place for place, name in enumerate([*special, *bytes_of, *names])}
    merges = [
        (name[:cut], name[cut:])
        for name in vocab
        for cut in range(1, len(name))
        if name not in special and name[:cut] in vocab and name[cut:] in vocab and not name.startswith("<0x")
    ]
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.add_special_tokens(special)
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def unigram() -> Tokenizer:
    """As XLM-R has it: its own special tokens first, the mask last."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    asked = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", **QUIET)
    made.train_from_iterator(TEXTS, asked)
    content = json.loads(made.to_str())
    content["model"]["vocab"].append(["<mask>", 0.0])
    made = Tokenizer.from_str(json.dumps(content))
    made.add_special_tokens(["<mask>"])
    around = [("<s>", 0), ("</s>", 2)]
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", around)
    made.decoder = decoders.Metaspace()
    return made


QUIET: dict[str, Any] = {"show_progress": False}
KINDS: dict[str, Callable[[], Tokenizer]] = {
    "WordPiece": cache(wordpiece),
    "byte-level BPE": cache(byte_level),
    "BPE with bytes": cache(with_bytes),
    "Unigram": cache(unigram),
}

_NAMES: dict[str, dict[str, Any]] = {
    "WordPiece": {
        **{"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]", "cls_token": "[CLS]"},
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    },
    "byte-level BPE": {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", "eos_token": "</s>"},
    "BPE with bytes": {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
    "Unigram": {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", "eos_token": "</s>"},
}


def tokenizer(kind: str) -> Any:
    """HuggingFace's."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=KINDS[kind](), model_max_length=48, **_NAMES[kind])


def repo(folder: Path, kind: str, module: Any) -> Path:
    """A model with its tokenizer."""
    module.save_pretrained(folder)
    tokenizer(kind).save_pretrained(folder)
    return folder


def model(name: str, rows: int, **more: Any) -> Any:
    """A small model of transformers by its class's name, with so many rows of words; numbers at random."""
    import torch
    import transformers

    kind = getattr(transformers, name)
    sizes: dict[str, Any] = {"vocab_size": rows, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "max_position_embeddings": 64, "initializer_range": 0.3} | more
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(kind.config_class(**sizes)).eval()
