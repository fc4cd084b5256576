"""Tiny models of transformers with random weights, one a ``model_type``. No network, no files.

``initializer_range`` is 0.5, not transformers' 0.02: at 0.02 attention is all but uniform, and a model whose queries
and keys are swapped still gives a cosine of 0.9999999. Biases and norms are random too; transformers starts them at 0
and 1, which would hide a lost bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

import QEfficient.architectures
from QEfficient.architectures import find
from QEfficient.architectures.table import TABLE
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.pytorch_transforms.embedding import EmbeddingModule, text_inputs
from QEfficient.pytorch_transforms.head import HeadModule
from QEfficient.source.head import parse_head

LIMIT = 24
"""Most tokens that a row of a tiny model can have (where its positions are absolute)."""

VOCAB = 97

_COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": LIMIT,
}
_ROBERTA = {**_COMMON, "max_position_embeddings": LIMIT + 2, "type_vocab_size": 1, "pad_token_id": 1}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertModel", _COMMON),
    "roberta": ("RobertaModel", _ROBERTA),
    "xlm-roberta": ("XLMRobertaModel", _ROBERTA),
    "camembert": ("CamembertModel", _ROBERTA),
    "mpnet": ("MPNetModel", {**_COMMON, "max_position_embeddings": LIMIT + 2}),
    "distilbert": (
        "DistilBertModel",
        {"vocab_size": VOCAB, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
        | {"max_position_embeddings": LIMIT},
    ),
    "electra": ("ElectraModel", {**_COMMON, "embedding_size": 16}),
    "albert": ("AlbertModel", {**_COMMON, "embedding_size": 16}),  # one layer, used several times
    "t5": (
        "T5EncoderModel",
        {"vocab_size": VOCAB, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
}
"""``model_type`` → class name in transformers and the arguments of its config."""


_NO_TYPES = ("__init__", "caches", "record", "table")


def files_of_facts() -> dict[str, Path]:
    """Name of each file about one model type → its path."""
    folder = Path(QEfficient.architectures.__file__).parent
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem not in _NO_TYPES}


def known_types() -> set[str]:
    """Each model type whose facts are known, by its line or its file, named as a file is: without dashes."""
    return {*files_of_facts(), *(model_type.replace("-", "_") for model_type in TABLE)}


def tiny(model_type: str, *, initializer_range: float = 0.5, seed: int = 0, **changes: Any) -> Any:
    """A tiny model in eval mode.

    Args:
        model_type: A key of :data:`CONFIGS`.
        initializer_range: Standard deviation of every weight.
        seed: Of the weights.
        changes: Further config arguments.
    """
    class_name, arguments = CONFIGS[model_type]
    kind = getattr(transformers, class_name)
    model = kind(kind.config_class(**{**arguments, **changes}))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.empty(parameter.shape).normal_(0.0, initializer_range, generator=generator)
        is_norm = "norm" in name.lower() and name.endswith("weight")
        parameter.data.copy_(noise * 0.2 + 1.0 if is_norm else noise)
    return model.eval()


def batch(rows: int, length: int, *, padding: str = "right", seed: int = 0) -> dict[str, torch.Tensor]:
    """Token ids, token types and a mask; row i has about i tokens less than the longest.

    Args:
        rows, length: Shape.
        padding: ``"none"``, ``"left"``, ``"right"`` or ``"holes"`` (the mask is broken in the middle).
        seed: Of the token ids.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCAB, (rows, length), generator=generator)
    mask = torch.ones(rows, length, dtype=torch.int64)
    for row in range(rows):
        cut = min(row, length - 1)
        if padding == "right" and cut:
            mask[row, -cut:] = 0
        elif padding == "left":
            mask[row, :cut] = 0
        elif padding == "holes" and length > 2:
            mask[row, 1 + row % (length - 2)] = 0
    types = (torch.arange(length) >= length // 2).to(torch.int64).expand(rows, length).contiguous()
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def head_of(pooling: Any) -> HeadModule:
    """What stands behind an encoder for a ``pooling`` argument."""
    head = parse_head(pooling)
    return HeadModule(head.steps, pooling=head.function)


def chain(model: Any, pooling: Any = None) -> EmbeddingModule:
    """The module that is exported for a model: swapped blocks, finished mask, head."""
    config = model.config.to_dict()
    architecture = find(config["model_type"])
    encoder, _ = exportable(architecture.encoder_of(model), architecture.swaps())
    names = [spec.name for spec in text_inputs(encoder)]
    return EmbeddingModule(encoder, head_of(pooling), names, architecture.mask_kind(config)).eval()
