"""Case → tiny model with telling weights, and its batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from QEfficient.architectures import find
from tests.sweep.case import VOCAB, Case, Inputs, Shape

FIRST_WORD = 5
"""Token ids below it stand for padding and the like; no batch holds them as a word."""


def build(case: Case, *, seed: int = 0) -> Any:
    """A tiny model in eval mode. Every weight is random, biases and norms too: transformers starts those at 0 and 1,
    which would hide a lost bias.

    Args:
        case: What to build.
        seed: Of the weights.
    """
    kind = getattr(transformers, case.model_class)
    model = kind(kind.config_class(**case.config)).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter, of_norm in _parameters(model):
        noise = torch.empty(parameter.shape).normal_(0.0, case.std, generator=generator)
        parameter.data.copy_(noise * 0.6 + 1.0 if of_norm and name.endswith("weight") else noise)
    if case.prepare is not None:
        case.prepare(model)
    return model


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Each parameter once, and whether it belongs to a norm."""
    seen: set[int] = set()
    for part in model.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter, "norm" in type(part).__name__.lower()


def batches(case: Case) -> Sequence[Inputs]:
    """What the case's model is run on."""
    if case.inputs is not None:
        return case.inputs()
    facts = find(case.model_type)
    pad = facts.pad_id(case.config) or 0
    shapes = case.shapes
    if not facts.pads(case.config):  # only padding at the end can be taken off a row
        shapes = [(rows, length, padding.replace("left", "right")) for rows, length, padding in shapes]
    return [tokens(shape, pad=pad, seed=seed) for seed, shape in enumerate(shapes)]


def tokens(shape: Shape, *, pad: int = 0, seed: int = 0) -> Inputs:
    """Token ids and a mask; row i has i thirds of the longest less than that, and 2 tokens at least."""
    rows, length, padding = shape
    ids = torch.randint(FIRST_WORD, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(rows, length, dtype=torch.int64)
    if padding != "none":
        for row in range(rows):
            cut = min(row * (length // 3), length - 2)
            mask[row, length - cut :] = 0
            if padding == "left":
                mask[row] = mask[row].flip(0)
    ids[mask == 0] = pad
    return {"input_ids": ids, "attention_mask": mask}


def types(inputs: Inputs) -> Tensor:
    """Token types: the second half of the columns has type 1, padding 0."""
    length = inputs["input_ids"].shape[1]
    return (torch.arange(length) >= length // 2).to(torch.int64) * inputs["attention_mask"]
