"""Pooling as sentence-transformers does it, and safe in fp16; a head as a list of steps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.modules.pooling import Pooling as TheirPooling
from torch import Tensor, nn

from QEfficient.errors import PoolingError
from QEfficient.pytorch_transforms.head import HeadModule
from QEfficient.pytorch_transforms.pooling import MODES, POOLER
from QEfficient.source.head import NAMES, parse_head
from tests.tiny_models import head_of

THEIR_NAMES = {
    "cls": "cls",
    "last_token": "lasttoken",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
    "weighted_mean": "weightedmean",
}


def theirs(mode: str, states: Tensor, mask: Tensor, prompt: int = 0) -> Tensor:
    features = {"token_embeddings": states, "attention_mask": mask, "prompt_length": prompt}
    return TheirPooling(states.shape[-1], THEIR_NAMES[mode], include_prompt=not prompt)(features)["sentence_embedding"]


masks = st.integers(1, 9).flatmap(
    lambda length: st.lists(
        st.lists(st.integers(0, 1), min_size=length, max_size=length).filter(any), min_size=1, max_size=4
    )
)


@given(mask=masks, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_what_sentence_transformers_gives(mode: str, mask: list[list[int]], seed: int) -> None:
    """Whatever the mask: padded left, right, or with holes."""
    there = torch.tensor(mask)
    states = torch.randn(*there.shape, 6, generator=torch.Generator().manual_seed(seed)) * 3
    torch.testing.assert_close(head_of(mode)(states, there), theirs(mode, states, there), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_can_be_left_out_of_each_mode(mode: str, side: str) -> None:
    """Weighted means keep the positions that the prompt counts in."""
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]])
    mask = mask.flip(1) if side == "left" else mask
    states = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(1))
    head = HeadModule(({"step": "pooling", "modes": [mode], "include_prompt": False},))
    pooled = mask * (mask.cumsum(dim=1) > 3)
    torch.testing.assert_close(head(states, mask, pooled), theirs(mode, states, mask, 3), rtol=2e-6, atol=2e-6)
    assert torch.equal(head(states, mask), head_of(mode)(states, mask))
    assert torch.equal(head_of(mode)(states, mask, pooled), head_of(mode)(states, mask))


def test_cls_is_the_first_and_last_token_the_last_real_one() -> None:
    states = torch.arange(12.0).reshape(2, 6, 1)
    mask = torch.tensor([[0, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]])
    assert head_of("cls")(states, mask).tolist() == [[2.0], [6.0]]
    assert head_of("last_token")(states, mask).tolist() == [[4.0], [11.0]]


def test_several_modes_stand_side_by_side_in_their_order() -> None:
    states, mask = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.int64)
    both = HeadModule(({"step": "pooling", "modes": ["max", "cls"]},))(states, mask)
    assert torch.equal(both, torch.cat([head_of("max")(states, mask), states[:, 0]], dim=-1))


@pytest.mark.parametrize("mode", MODES)
def test_no_pooling_leaves_the_range_of_fp16(mode: str) -> None:
    """512 tokens of 300: their sum is 153,600, and fp16 ends at 65,504."""
    states = torch.full((1, 512, 8), 300.0, dtype=torch.float16)
    assert not torch.isfinite(states.sum(dim=1)).any()
    pooled = head_of(mode)(states, torch.ones(1, 512, dtype=torch.int64))
    expected = 300.0 * (512**0.5 if mode == "mean_sqrt_len" else 1.0)
    assert pooled.dtype == torch.float16
    torch.testing.assert_close(pooled.float(), torch.full((1, 8), expected), rtol=2e-3, atol=0)


def test_pooling_names() -> None:
    assert parse_head(None).steps == ()
    for name in NAMES:
        if name not in ("auto", POOLER):
            assert parse_head(name).steps == ({"step": "pooling", "modes": ["mean" if name == "avg" else name]},)
    assert parse_head(POOLER).steps == ({"step": POOLER},)
    (step,) = parse_head(mean_of_all).steps
    assert step["step"] == "callable" and step["name"].endswith("test_head.mean_of_all")


@pytest.mark.parametrize(("wrong", "said"), [("maen", "Did you mean 'mean'"), ("", "allowed"), (3, "neither")])
def test_unknown_pooling(wrong: object, said: str) -> None:
    with pytest.raises(PoolingError, match=said) as caught:
        parse_head(wrong)  # type: ignore[arg-type]
    assert "weighted_mean" in str(caught.value)


def mean_of_all(states: Tensor, mask: Tensor) -> Tensor:
    return states.mean(dim=1)


def test_a_function_and_a_module_can_pool() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, states: Tensor, mask: Tensor) -> Tensor:
            return states[:, 0] * self.scale

    states, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.int64)
    assert torch.equal(head_of(mean_of_all)(states, mask), states.mean(dim=1))
    learned = head_of(Learned())
    learned.check(4)
    assert [name for name, _ in learned.named_parameters()] == ["steps.0.pooling.scale"]
    assert torch.equal(learned(states, mask), states[:, 0] * 2)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda states, mask: states, "one vector a row"),
        (lambda states, mask: states.mean(dim=0), "one vector a row"),
        (lambda states, mask: states[:, 0].tolist(), "list"),
        (lambda states, mask: states[:, 0].long(), "one vector a row"),
        (lambda states: states, "TypeError"),
        (lambda states, mask: states @ mask, "RuntimeError"),
    ],
)
def test_a_function_that_does_not_pool_is_named_before_export(function, said: str) -> None:
    with pytest.raises(PoolingError, match=said):
        head_of(function).check(8)


def test_what_a_head_works_on() -> None:
    assert [head_of(name).source for name in (None, "mean", POOLER)] == [
        "last_hidden_state",
        "last_hidden_state",
        POOLER,
    ]
    pooled, mask = torch.randn(2, 4), torch.ones(2, 3, dtype=torch.int64)
    assert torch.equal(head_of(POOLER)(pooled, mask), pooled)
    unit = HeadModule(({"step": POOLER}, {"step": "normalize"}))(pooled, mask)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(2))


def test_unknown_steps_and_modes() -> None:
    with pytest.raises(PoolingError, match="whitening"):
        HeadModule(({"step": "whitening"},))
    with pytest.raises(PoolingError, match="median"):
        HeadModule(({"step": "pooling", "modes": ["median"]},))
    with pytest.raises(PoolingError, match="can't be rebuilt"):
        HeadModule(({"step": "callable", "name": "a.b"},))
