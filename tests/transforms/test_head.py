"""Pooling, Dense and Normalize: as sentence-transformers, and safe in fp16."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from sentence_transformers.sentence_transformer.modules.pooling import Pooling as TheirPooling
from torch import Tensor, nn
from torch.nn.functional import normalize

from QEfficient.errors import LoadError, PoolingError
from QEfficient.pytorch_transforms.head import ACTIVATIONS, Head, Normalize
from QEfficient.pytorch_transforms.pooling import MODES, NAMES, parse_pooling

THEIR_NAMES = {
    "cls": "cls",
    "last_token": "lasttoken",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
    "weighted_mean": "weightedmean",
}


def theirs(mode: str, states: Tensor, mask: Tensor) -> Tensor:
    features = {"token_embeddings": states, "attention_mask": mask}
    return TheirPooling(states.shape[-1], THEIR_NAMES[mode])(features)["sentence_embedding"]


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
    torch.testing.assert_close(Head.of(mode)(states, there), theirs(mode, states, there), rtol=2e-6, atol=2e-6)


def test_cls_is_the_first_and_last_token_the_last_real_one() -> None:
    states = torch.arange(12.0).reshape(2, 6, 1)
    mask = torch.tensor([[0, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]])
    assert Head.of("cls")(states, mask).tolist() == [[2.0], [6.0]]
    assert Head.of("last_token")(states, mask).tolist() == [[4.0], [11.0]]


def test_several_modes_stand_side_by_side_in_their_order() -> None:
    states, mask = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.int64)
    both = Head(({"step": "pooling", "modes": ["max", "cls"]},))(states, mask)
    assert torch.equal(both, torch.cat([Head.of("max")(states, mask), states[:, 0]], dim=-1))


@pytest.mark.parametrize("mode", MODES)
def test_no_pooling_leaves_the_range_of_fp16(mode: str) -> None:
    """512 tokens of 300: their sum is 153,600, and fp16 ends at 65,504."""
    states = torch.full((1, 512, 8), 300.0, dtype=torch.float16)
    assert not torch.isfinite(states.sum(dim=1)).any()
    pooled = Head.of(mode)(states, torch.ones(1, 512, dtype=torch.int64))
    expected = 300.0 * (512**0.5 if mode == "mean_sqrt_len" else 1.0)
    assert pooled.dtype == torch.float16
    torch.testing.assert_close(pooled.float(), torch.full((1, 8), expected), rtol=2e-3, atol=0)


def test_normalize_is_torchs() -> None:
    vectors = torch.randn(20, 33) * torch.logspace(-6, 6, 20).unsqueeze(1)
    mask = torch.ones(20, 1, dtype=torch.int64)
    torch.testing.assert_close(Normalize()(vectors, mask), normalize(vectors, dim=-1), rtol=1e-6, atol=1e-7)
    assert torch.equal(Normalize()(torch.zeros(1, 4), mask), torch.zeros(1, 4))


def test_normalize_is_safe_in_fp16() -> None:
    vectors = torch.tensor([[600.0, 800.0], [0.0, 0.0], [6e-4, 8e-4]], dtype=torch.float16)
    assert not torch.isfinite(vectors.square().sum(dim=-1)).all()
    lengths = Normalize()(vectors, torch.ones(3, 1, dtype=torch.int64)).float().norm(dim=-1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 0.0, 1.0]), rtol=2e-3, atol=0)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["activation.Tanh", "activation.GELU", "linear.Identity"])
def test_dense_reads_its_weights(tmp_path: Path, suffix: str, bias: bool, name: str) -> None:
    linear = nn.Linear(4, 3, bias=bias)
    held = {f"linear.{key}": value.data for key, value in linear.named_parameters()}
    (tmp_path / "2_Dense").mkdir()
    path = tmp_path / "2_Dense" / f"model.{suffix}"
    save_file(held, path) if suffix == "safetensors" else torch.save(held, path)
    dotted = f"torch.nn.modules.{name}"
    head = Head((dense(bias=bias, activation=dotted, weights=f"2_Dense/{path.name}"),), folder=tmp_path)
    vectors = torch.randn(5, 4)
    activation = getattr(nn, name.rpartition(".")[2])()
    assert torch.equal(head(vectors, torch.ones(5, 1)), activation(linear(vectors)))


def dense(**changes: object) -> dict[str, object]:
    step = {"step": "dense", "in": 4, "out": 3, "bias": True, "activation": ACTIVATIONS[0], "weights": "w.safetensors"}
    return {**step, **changes}


def test_dense_refuses_weights_that_do_not_fit(tmp_path: Path) -> None:
    save_file({"linear.weight": torch.zeros(3, 5), "linear.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(LoadError, match=r"linear.weight.*\(3, 5\)"):
        Head((dense(),), folder=tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"short")
    with pytest.raises(LoadError, match="can't be read"):
        Head((dense(),), folder=tmp_path)


def test_dense_imports_no_foreign_activation(tmp_path: Path) -> None:
    save_file({"linear.weight": torch.zeros(3, 4), "linear.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(PoolingError, match="os.system"):
        Head((dense(activation="os.system"),), folder=tmp_path)


def test_every_allowed_activation_can_be_made(tmp_path: Path) -> None:
    save_file({"linear.weight": torch.zeros(3, 4), "linear.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    for name in ACTIVATIONS:
        Head((dense(activation=name),), folder=tmp_path)


def test_pooling_names() -> None:
    assert parse_pooling(None) == ()
    for name in NAMES:
        if name != "auto":
            assert parse_pooling(name) == ({"step": "pooling", "modes": ["mean" if name == "avg" else name]},)
    (step,) = parse_pooling(mean_of_all)
    assert step["step"] == "callable" and step["name"].endswith("test_head.mean_of_all")


@pytest.mark.parametrize(("wrong", "said"), [("maen", "Did you mean 'mean'"), ("", "allowed"), (3, "neither")])
def test_unknown_pooling(wrong: object, said: str) -> None:
    with pytest.raises(PoolingError, match=said) as caught:
        parse_pooling(wrong)  # type: ignore[arg-type]
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
    assert torch.equal(Head.of(mean_of_all)(states, mask), states.mean(dim=1))
    learned = Head.of(Learned())
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
        Head.of(function).check(8)


def test_unknown_steps_and_modes() -> None:
    with pytest.raises(PoolingError, match="whitening"):
        Head(({"step": "whitening"},))
    with pytest.raises(PoolingError, match="median"):
        Head(({"step": "pooling", "modes": ["median"]},))
    with pytest.raises(PoolingError, match="can't be rebuilt"):
        Head(({"step": "callable", "name": "a.b"},))
