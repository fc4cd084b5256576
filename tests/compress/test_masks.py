"""Zeros weight by weight: how many, which, and what a report says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertForMaskedLM

from QEfficient import hub
from QEfficient.compress.pruning.masks import mask_n_of_m, mask_smallest
from QEfficient.errors import OptionError, UsageError
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.identity import tensors_digest
from tests.compress.pruning import model
from tests.tiny_models import tiny


@settings(max_examples=8, deadline=None)
@given(share=st.floats(0.01, 0.99))
def test_the_smallest_weights_of_each_matrix_are_zero(share: float) -> None:
    module = model("bert")
    before = tensors_digest(module)
    made = mask_smallest(module, share)
    assert tensors_digest(module) == before and made.matrices == 13
    for (path, old), (_, new) in zip(module.named_parameters(), made.module.named_parameters(), strict=True):
        if not path.endswith("weight") or "embeddings" in path or "LayerNorm" in path:
            assert torch.equal(old, new)
            continue
        gone = new == 0
        assert int(gone.sum()) == int(share * old.numel()) and torch.equal(new[~gone], old[~gone])
        assert not gone.any() or old[gone].abs().max() <= old[~gone].abs().min()
    assert made.zeros == sum(int(share * number) for number in (1024,) * 9 + (1536,) * 4) and made.weights == 15360


@pytest.mark.parametrize(("pattern", "keep", "of"), [("2:4", 2, 4), ("4:8", 4, 8), ("1:2", 1, 2)])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_of_inputs_in_a_row_the_largest_stay(name: str, pattern: str, keep: int, of: int) -> None:
    """GPT-2's matrices stand the other way round."""
    module, made = model(name), mask_n_of_m(model(name), pattern)
    part = "encoder.layer.1.intermediate.dense" if name == "bert" else "h.1.mlp.c_fc"
    old, new = (one.get_submodule(part).weight.detach() for one in (module, made.module))
    if name == "gpt2":
        old, new = old.T, new.T
    old, new = (one.reshape(-1, of) for one in (old, new))
    assert ((new != 0).sum(1) == keep).all()
    assert torch.equal(new.abs().sum(1), old.abs().sort(1).values[:, of - keep :].sum(1)) or torch.allclose(
        new.abs().sum(1), old.abs().sort(1).values[:, of - keep :].sum(1)
    )
    assert made.share_zero == 1 - keep / of


def test_what_does_not_fit_a_pattern_is_left_out_by_name() -> None:
    module = tiny("bert", intermediate_size=50)
    made = mask_n_of_m(module, "4:8")
    assert made.left_out == ("encoder.layer.0.output.dense", "encoder.layer.1.output.dense")
    assert made.to_dict()["left_out"] == list(made.left_out)
    with pytest.raises(UsageError, match="no multiple of 64"):
        mask_n_of_m(module, "2:64")


def test_tables_and_heads_stay() -> None:
    module: Any = BertForMaskedLM(tiny("bert").config)
    made = mask_smallest(module, 0.9)
    assert torch.equal(
        made.module.get_submodule("cls.predictions.decoder").weight, module.cls.predictions.decoder.weight
    )
    assert (made.module.get_submodule("cls.predictions.decoder").weight != 0).float().mean() > 0.9


def test_the_report_promises_nothing() -> None:
    made = mask_n_of_m(model("bert"))
    assert made.told.startswith("2:4: 50% of the encoder's matrices are zeros; no gain in speed or size: ")
    assert made.to_dict()["told"] == made.told


def test_a_masked_model_is_an_ordinary_one(tmp_path: Path) -> None:
    made = mask_smallest(model("bert"), 0.5).module
    made.save_pretrained(tmp_path)  # type: ignore[operator]
    assert tensors_digest(Checkpoint(hub.resolve(tmp_path), "AutoModel").module()) == tensors_digest(made)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan"), "0.5", True, None])
def test_shares_that_are_none(share: Any) -> None:
    with pytest.raises(OptionError, match="out of range"):
        mask_smallest(model("bert"), share)


@pytest.mark.parametrize("pattern", ["4:2", "2:2", "0:4", "2", "a:b", "-1:4", 24, None, "2:4:8"])
def test_patterns_that_are_none(pattern: Any) -> None:
    with pytest.raises(OptionError, match="not N:M"):
        mask_n_of_m(model("bert"), pattern)
