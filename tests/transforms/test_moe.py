"""Mixtures of experts: all experts see all tokens, and the numbers are those of transformers."""

from __future__ import annotations

import pytest
import torch

from QEfficient.architectures import find
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.pytorch_transforms.moe import shares
from tests.sweep.build import batches, build
from tests.sweep.case import Case
from tests.sweep.decoders import CASES as DECODERS
from tests.sweep.seq2seq import CASES as SEQ2SEQ

MIXED = [case for case in (*DECODERS, *SEQ2SEQ) if any("Experts" in path for path in find(case.model_type).blocks)]


@pytest.mark.parametrize("case", MIXED, ids=lambda case: case.name)
def test_states_are_those_of_transformers(case: Case) -> None:
    architecture = find(case.model_type)
    model = architecture.encoder_of(build(case))
    twin, swapped = exportable(model, architecture.swaps())
    assert {one.target for one in swapped} == {path.rpartition(".")[2] for path in architecture.blocks.values()}
    for inputs in batches(case):
        with torch.no_grad():
            wanted, found = model(**inputs)[0], twin(**inputs)[0]
        real = inputs["attention_mask"] > 0
        torch.testing.assert_close(found[real], wanted[real], rtol=1e-5, atol=1e-5)


def test_what_is_not_picked_has_no_share() -> None:
    picked = shares(torch.tensor([[2, 0], [1, 2]]), torch.tensor([[0.75, 0.25], [0.5, 0.5]]), 4)
    assert picked.T.tolist() == [[0.25, 0.0, 0.75, 0.0], [0.0, 0.5, 0.5, 0.0]]


def test_a_full_expert_leaves_later_tokens_out() -> None:
    """The sweep's Switch model has experts for four tokens, and rows of 24."""
    [case] = [case for case in MIXED if case.model_type == "switch_transformers"]
    architecture = find(case.model_type)
    twin, _ = exportable(architecture.encoder_of(build(case)), architecture.swaps())
    [router] = [part for part in twin.modules() if type(part).__name__ == "SwitchRouter"]
    picks, _, _ = router(torch.randn(1, 24, 32, generator=torch.Generator().manual_seed(0)))
    assert picks.sum(dim=1).max() == router.capacity
    assert picks.sum() < 24
