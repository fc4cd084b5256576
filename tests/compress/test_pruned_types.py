"""Which types of the sweep can be cut, and that each pruned one still takes our blocks and gives its own numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from QEfficient import QEFFAutoModel
from QEfficient.compress.pruning.groups import find_groups
from QEfficient.compress.pruning.surgery import cut
from QEfficient.errors import UsageError
from tests.compress.pruning import BY_NAME
from tests.sweep import roads
from tests.sweep.build import batches, build
from tests.sweep.case import Case
from tests.sweep.runner import FP32, check

ONLY_FEED_FORWARD: Mapping[str, str] = {
    "a bias by distance, or a filter, that has a value for each head of all layers":
        "mpnet t5 mt5 umt5 longt5 longt5-transient-global beit data2vec-vision layoutlmv3 swin swinv2 wavlm "
        "nystromformer convbert bloom",
    "heads that are normalised together": "esmc olmo2 olmo3",
    "heads whose number is read elsewhere": "big_bird bigbird_pegasus fsmt lilt longformer led mvp pegasus_x phi3 "
        "prophetnet xglm neomme",
    "projections that are joined in a form of their own": "codegen deberta falcon falcon-alibi gpt_bigcode reformer "
        "funnel xlnet hiera",
    "no attention": "fnet focalnet",
}  # fmt: skip
"""Why → the cases of the sweep whose heads can't be cut."""

ONLY_HEADS: Mapping[str, str] = {
    "experts": "mixtral qwen2_moe qwen3_moe granitemoe nllb-moe",
    "a convolution inside of the feed-forward": "segformer",
    "two feed-forwards a layer": "wav2vec2-bert wav2vec2-bert-adapter",
}

NEITHER: Mapping[str, str] = {
    "convolutions": "bit convnext convnextv2 dinov3_convnext poolformer regnet resnet squeezebert pvt_v2",
    "experts, and heads that share something": "switch_transformers openai_privacy_filter",
    "layers of another kind": "ibert mpt",
    "two feed-forwards a layer, and heads that share something": "wav2vec2-bert-relative wav2vec2-bert-rotary "
        "wav2vec2-conformer",
    "inputs that the check has none of": "bros perceiver xclip_vision_model",
}  # fmt: skip


def named(groups: Mapping[str, str]) -> set[str]:
    return {name for names in groups.values() for name in names.split()}


EXPECTED = (
    {name: {"heads", "feed_forward"} for name in BY_NAME}
    | {name: {"feed_forward"} for name in named(ONLY_FEED_FORWARD)}
    | {name: {"heads"} for name in named(ONLY_HEADS)}
    | {name: set() for name in named(NEITHER)}
)

QUICK = ("bert", "distilbert", "mpnet", "llama", "gpt2", "mixtral", "vit", "resnet", "whisper")


def kinds(case: Case) -> set[str]:
    try:
        return {one.kind for one in find_groups(build(case))}
    except UsageError:
        return set()


def test_nothing_is_expected_of_cases_that_are_not_there() -> None:
    assert set(EXPECTED) == set(BY_NAME)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one in QUICK else pytest.mark.sweep) for one in BY_NAME]
)
def test_what_can_be_cut(name: str) -> None:
    assert kinds(BY_NAME[name]) == EXPECTED[name]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.sweep)
        for name in BY_NAME
        if EXPECTED[name] and not BY_NAME[name].refused
    ],
)
def test_the_module_that_is_exported_of_a_pruned_model(name: str) -> None:
    """Our blocks read how many heads there are from each layer."""
    case = BY_NAME[name]
    model = build(case)
    kept = {one.output: list(range(one.units))[one.layer % 2 :: 2] or [0] for one in find_groups(model)}
    small, ours = cut(model, kept), QEFFAutoModel(cut(model, kept), pooling=case.pooling)
    given = [roads.with_all(case, ours, inputs) for inputs in batches(case)]
    for inputs in (part for one in given for part in roads.unpadded(case, model, one)):
        want, got = roads.reference(case, small, inputs), roads.exported_module(ours, inputs)
        check(case, inputs, want, got, FP32, "the module that is exported")
