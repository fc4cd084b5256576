"""Tiny models of each layout, and cuts of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from QEfficient.compress.pruning.groups import UnitGroup, find_groups
from tests.sweep.all_cases import CASES
from tests.sweep.build import batches, build
from tests.sweep.case import Case

BY_NAME: dict[str, Case] = {case.name: case for case in CASES}

LAYOUTS = (
    "bert", "roberta", "distilbert", "albert", "deberta-v2", "modernbert", "llama", "qwen3", "gpt2", "gpt_neox", "vit",
)  # fmt: skip
"""One type a layout of the table, and families that share one."""


@lru_cache(maxsize=None)
def model(name: str) -> Any:
    """A tiny model of the sweep with eager attention, for nobody to change.

    Its weights are smaller than the sweep's, whose models make 2e-5 of a float error in their first layer.
    """
    made = build(replace(BY_NAME[name], std=0.2))
    made.set_attn_implementation("eager")
    return made


@lru_cache(maxsize=None)
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
