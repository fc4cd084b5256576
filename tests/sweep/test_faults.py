"""What the sweep's comparison would say of a model that is wrong: the weights of each case must show it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from QEfficient.architectures import find
from tests.sweep import roads
from tests.sweep.all_cases import CASES
from tests.sweep.build import batches, build
from tests.sweep.case import Case, Inputs

TEXT = [case for case in CASES if case.inputs is None and not case.refused and find(case.model_type).pads(case.config)]

PAIRS = (("query", "key"), ("q_proj", "k_proj"), ("query_proj", "key_proj"), ("q_lin", "k_lin"), ("q", "k"))
"""How transformers names the two halves of attention."""

LAYERS = 2  # of every case

Change = Callable[[Inputs], Inputs]


def faults(case: Case, model: nn.Module) -> Iterator[tuple[str, nn.Module, Change]]:
    """Name, broken model, and what becomes of its inputs; a fault that the model can't have is left out."""
    yield "lost mask", model, lambda inputs: {**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])}
    swapped = copy.deepcopy(model)
    used = _used(case, model)
    if any([_swap(part) for name, part in swapped.named_modules() if name in used]):
        yield "swapped query and key", swapped, lambda inputs: inputs
    shorter = copy.deepcopy(model)
    if _drop_layer(shorter):
        yield "missing layer", shorter, lambda inputs: inputs


def _used(case: Case, model: nn.Module) -> set[str]:
    """Paths of the modules that run: a text model may carry a vision tower along."""
    found: set[str] = set()
    hooks = [part.register_forward_hook(lambda *_, name=name: found.add(name)) for name, part in model.named_modules()]
    with torch.no_grad():
        case.call(model, batches(case)[0])
    for hook in hooks:
        hook.remove()
    return found


def _swap(part: nn.Module) -> bool:
    for query, key in PAIRS:
        one, other = getattr(part, query, None), getattr(part, key, None)
        if isinstance(one, nn.Module) and isinstance(other, nn.Module) and one.weight.shape == other.weight.shape:
            setattr(part, query, other)
            setattr(part, key, one)
            return True
    return False


def _drop_layer(model: nn.Module) -> bool:
    """Takes the first layer out, where the layers are one list and of one shape."""
    for parent in model.modules():
        lists = [part for part in parent.children() if isinstance(part, nn.ModuleList) and len(part) == LAYERS]
        if len(lists) == 1 and len({str(layer) for layer in lists[0]}) == 1:
            del lists[0][0]
            return True
    return False


def worst(case: Case, model: nn.Module, broken: nn.Module, change: Change) -> float:
    """Least cosine of a broken model over the real tokens of all batches."""
    found = []
    for inputs in batches(case):
        pairs = zip(roads.reference(case, model, inputs), roads.reference(case, broken, change(inputs)), strict=True)
        found += [roads.agreement(*(roads.real_entries(case, inputs, side) for side in pair))[0] for pair in pairs]
    return min(found)


@pytest.mark.parametrize("case", TEXT, ids=lambda case: case.name)
def test_each_fault_falls_below_the_limit(case: Case) -> None:
    model = build(case)
    found = {name: worst(case, model, broken, change) for name, broken, change in faults(case, model)}
    assert max(found.values()) < 0.99, found


def test_bert_can_have_every_fault() -> None:
    [case] = [case for case in TEXT if case.name == "bert"]
    found = [name for name, _, _ in faults(case, build(case))]
    assert found == ["lost mask", "swapped query and key", "missing layer"]
