"""Whole repos for verify to be tried on: weights as transformers draws them, at ``initializer_range`` 0.3."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from tests.family_repos import FAMILIES

POOLING = {"roberta": "mean", "qwen3": "lasttoken"}
"""Families, and how they pool; each normalises after it."""


def write(name: str, folder: Path) -> Path:
    """Writes a family's repo and returns its folder: tokenizer, two layers of 32, pooling, normalising."""
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    tokenizer.save_pretrained(folder / "hf")
    kind = getattr(transformers, family.model_class)
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(kind.config_class(**family.config | sizes)).save_pretrained(folder / "hf")
    modules = [Transformer(str(folder / "hf"), **family.transformer), Pooling(32, POOLING[name]), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "repo"), create_model_card=False)
    return folder / "repo"
