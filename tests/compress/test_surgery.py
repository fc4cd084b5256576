"""What a cut leaves computes what it did; and what can't be cut is refused, never silently wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.compress.pruning import surgery
from QEfficient.compress.pruning.groups import UnitGroup, find_groups
from QEfficient.compress.pruning.probe import fault_of
from QEfficient.compress.pruning.surgery import cut
from QEfficient.errors import OptionError, UsageError
from QEfficient.source.identity import module_identity, tensors_digest
from tests.compress.pruning import LAYOUTS, chosen, groups, model, parameters, rows_of, states, zeroed
from tests.tiny_models import tiny


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_cut_equals_the_original_with_zeros(name: str, seed: int) -> None:
    """And its parameters are fewer by what the groups say; the original is as it was."""
    module, found = model(name), groups(name)
    before, kept = module_identity(module), chosen(found, seed)
    made = cut(module, kept)
    assert type(made) is type(module) and not made.training
    gone = sum((one.units - len(kept[one.output])) * one.parameters for one in found)
    assert parameters(module) - parameters(made) == gone
    for rows in rows_of(name):
        wanted, got = zeroed(module, found, kept, rows), states(made, rows)
        assert float((wanted - got).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))
    assert module_identity(module) == before and not hasattr(module.config, "qefficient")
    if all(one.units > 1 for one in find_groups(made)):
        assert {one.output: one.units for one in find_groups(made)} == {output: len(kept[output]) for output in kept}


@pytest.mark.parametrize("name", ["bert", "distilbert", "llama", "gpt2", "vit"])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_cut_of_a_cut_is_one_cut(name: str, seed: int) -> None:
    first = chosen(groups(name), seed)
    half = {output: units[::2] for output, units in first.items()}
    once = cut(model(name), half)
    twice = cut(cut(model(name), first), {output: range(len(units))[::2] for output, units in first.items()})
    assert module_identity(once) == module_identity(twice)


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "BertForMultipleChoice", "BertForMaskedLM"])
def test_a_model_with_a_head_keeps_it(kind: str) -> None:
    made: Any = getattr(transformers, kind)
    module = made(tiny("bert").config).eval()
    found = find_groups(module)
    assert [one.output for one in found][:2] == [
        "bert.encoder.layer.0.attention.output.dense",
        "bert.encoder.layer.0.output.dense",
    ]
    small = cut(module, {found[0].output: [1, 3], found[3].output: [5]})
    assert small.config.qefficient == {"widths": {"0": {"heads": 2}, "1": {"feed_forward": 1}}}
    heads = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith("bert.encoder")}
    assert all(torch.equal(small.state_dict()[name], tensor) for name, tensor in heads.items())


def test_the_unit_of_grouped_attention_is_a_head_of_keys_with_all_its_queries() -> None:
    heads = groups("llama")[0]
    assert heads == UnitGroup(0, "heads", "layers.0.self_attn.o_proj", 2, 16, 2 * 16 * 32 + 2 * 8 * 32)
    made = cut(model("llama"), {heads.output: [1]})
    attention = made.layers[0].self_attn
    assert [attention.q_proj.out_features, attention.k_proj.out_features, attention.o_proj.in_features] == [16, 8, 16]
    assert torch.equal(attention.q_proj.weight, model("llama").layers[0].self_attn.q_proj.weight[16:])


def test_what_is_to_be_kept_is_copied_and_its_training_goes_on() -> None:
    module = tiny("bert").train()
    module.embeddings.requires_grad_(False)
    before = tensors_digest(module)
    made = cut(module, {find_groups(module)[0].output: [0, 1]})
    assert made.training and not made.embeddings.word_embeddings.weight.requires_grad
    assert made.encoder.layer[0].attention.self.query.weight.requires_grad
    for parameter in made.parameters():
        parameter.data.zero_()
    assert tensors_digest(module) == before


def test_nothing_to_cut_is_a_copy() -> None:
    module = tiny("bert")
    made = cut(module, {one.output: range(one.units) for one in find_groups(module)})
    assert tensors_digest(made) == tensors_digest(module) and not hasattr(made.config, "qefficient")


@pytest.mark.parametrize("units", [[], [4], [-1], [0, 0], [True], [0.5], ["0"], "01", 3])
def test_units_that_are_none(units: Any) -> None:
    with pytest.raises(OptionError, match="keep these of its heads|not a list of numbers"):
        cut(model("bert"), {groups("bert")[0].output: units})


def test_a_group_that_is_none_is_named_with_those_near_it() -> None:
    with pytest.raises(UsageError, match="no group of units 'encoder.layer.0.output'.*Did you mean"):
        cut(model("bert"), {"encoder.layer.0.output": [0]})


@pytest.mark.parametrize("name", ["mpnet", "t5", "olmo2", "longformer", "swin"])
def test_heads_that_share_something_are_no_units(name: str) -> None:
    assert {one.kind for one in groups(name)} == {"feed_forward"}


@pytest.mark.parametrize(("name", "said"), [("layoutlmv3", "size of tensor"), ("longformer", "shape")])
def test_heads_that_can_not_be_cut_are_refused_when_they_are_asked_for(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cut(model(name), {"encoder.layer.0.attention.output.dense": [0, 1]})


def test_experts_have_no_feed_forward_of_their_own() -> None:
    assert {one.kind for one in groups("mixtral")} == {"heads"}


@pytest.mark.parametrize("name", ["resnet", "squeezebert", "switch_transformers"])
def test_a_model_without_any_units_says_why(name: str) -> None:
    with pytest.raises(UsageError, match="No heads and no feed-forward.*\n.*heads: .*feed_forward: "):
        find_groups(model(name))


def test_the_check_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that keeps other units, changes a weight, or forgets a bias."""
    module, found = model("bert"), groups("bert")
    kept = {found[0].output: [0, 2]}
    right = surgery._without(module, kept)
    assert fault_of(module, right, kept) is None
    assert "differs" in str(fault_of(module, right, {found[0].output: [0, 1]}))
    assert "differs" in str(fault_of(module, module, kept))
    wrong = copy.deepcopy(right)
    wrong.encoder.layer[0].attention.self.value.bias.data[3] += 1  # type: ignore[union-attr, index, operator]
    assert "differs" in str(fault_of(module, wrong, kept))
    monkeypatch.setattr(surgery, "_without", lambda module, chosen: wrong)
    with pytest.raises(UsageError, match="can't be cut one by one"):
        cut(module, kept)


def test_broken_weights_are_called_so() -> None:
    module = tiny("bert")
    module.encoder.layer[0].output.dense.bias.data[3] = torch.nan
    with pytest.raises(UsageError, match="its weights are broken"):
        find_groups(module)
