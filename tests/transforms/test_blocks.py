"""Block swaps: exact type, checked weights, shared memory, and a caller's model that stays as it was."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from QEfficient.errors import TransformError
from QEfficient.pytorch_transforms.bert import attend
from QEfficient.pytorch_transforms.blocks import (
    Block,
    Swap,
    Swapped,
    WeightRule,
    exportable,
    same,
    scaled,
    structural_copy,
    swap_blocks,
)
from tests.tiny_models import batch, tiny


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(x), self.right(x)


def concat(names: tuple[str, ...]) -> WeightRule:
    return WeightRule(names, lambda tensors, old: torch.cat([tensor.detach() for tensor in tensors]))


class Fused(Block):
    weights: ClassVar[Mapping[str, WeightRule]] = {
        "both.weight": concat(("left.weight", "right.weight")),
        "both.bias": concat(("left.bias", "right.bias")),
    }

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.both = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.both(x).chunk(2, dim=-1)


class OtherPair(Pair):
    """A subclass may compute something else."""


def test_swap_by_exact_type_keeps_the_numbers() -> None:
    model = nn.ModuleList([Pair(), OtherPair(), nn.Sequential(Pair())])
    x = torch.randn(5, 4)
    before = [model[0](x), model[2][0](x)]
    assert swap_blocks(model, [Swap(Pair, Fused)]) == (Swapped("0", "Pair", "Fused"), Swapped("2.0", "Pair", "Fused"))
    assert [type(part).__name__ for part in (model[0], model[1], model[2][0])] == ["Fused", "OtherPair", "Fused"]
    for expected, part in zip(before, (model[0], model[2][0]), strict=True):
        torch.testing.assert_close(part(x), expected)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def hooked(pair: Pair) -> None:
    pair.left.register_forward_hook(lambda part, args, out: out * 2)


def hooked_before(pair: Pair) -> None:
    pair.register_forward_pre_hook(lambda part, args: (args[0] * 2,))


def patched(pair: Pair) -> None:
    plain = pair.left.forward
    pair.left.forward = lambda x: plain(x) * 2  # type: ignore[method-assign]


def of_another_class(pair: Pair) -> None:
    pair.left = Doubled(4, 3)


@pytest.mark.parametrize("change", [hooked, hooked_before, patched, of_another_class])
def test_a_block_that_was_changed_by_hand_is_left_alone(change: Callable[[Pair], None]) -> None:
    model = nn.Sequential(Pair())
    change(model[0])
    assert swap_blocks(model, [Swap(Pair, Fused)]) == () and type(model[0]) is Pair


def test_a_block_in_two_places_stays_one() -> None:
    pair = Pair()
    model = nn.ModuleList([pair, pair])
    assert len(swap_blocks(model, [Swap(Pair, Fused)])) == 1
    assert model[0] is model[1] and isinstance(model[0], Fused)


def test_old_tensors_are_gone_before_the_next_block_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.ModuleList([Pair() for _ in range(3)])
    old = [weakref.ref(part.left.weight) for part in model]
    alive: list[int] = []
    init = Fused.__init__

    def counting(self: Fused, block: Any) -> None:
        alive.append(sum(ref() is not None for ref in old))
        init(self, block)

    monkeypatch.setattr(Fused, "__init__", counting)
    swap_blocks(model, [Swap(Pair, Fused)])
    assert alive == [3, 2, 1] and all(ref() is None for ref in old)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"both.bias": concat(("left.bias", "right.bias"))}, "does not have: both.weight"),
        ({**Fused.weights, "third": same("left.weight")}, "rules for tensors.*third"),
        (
            {**Fused.weights, "both.bias": concat(("left.bias", "left.bias"))},
            "no rule uses: right.bias.*twice: left.bias",
        ),
        ({**Fused.weights, "both.weight": concat(("left.weight", "wrong"))}, "does not have: wrong"),
        ({**Fused.weights, "both.weight": concat(("right.weight", "left.weight", "left.bias"))}, "twice: left.bias"),
    ],
)
def test_a_mapping_that_does_not_fit_is_named(rules: dict[str, WeightRule], said: str) -> None:
    target = type("Faulty", (Fused,), {"weights": rules})
    with pytest.raises(TransformError, match=said) as caught:
        swap_blocks(nn.Sequential(Pair()), [Swap(Pair, target)])
    assert "block at '0'" in str(caught.value)


def test_a_wrong_shape_or_dtype_is_named() -> None:
    class Wide(Fused):
        def __init__(self, old: Any) -> None:
            super().__init__(old)
            self.both = nn.Linear(4, 7)

    for model, target in ((Pair(), Wide), (Pair().half(), Fused)):
        with pytest.raises(TransformError, match="'0.both.weight' does not fit"):
            swap_blocks(nn.Sequential(model), [Swap(Pair, target)])


def test_buffers_have_rules_too() -> None:
    class Old(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.arange(3.0))

    class New(Block):
        weights: ClassVar[Mapping[str, WeightRule]] = {"table": scaled("table", by=lambda old: 2.0)}

        def __init__(self, old: Any) -> None:
            super().__init__(old)
            self.register_buffer("table", torch.empty(3))

    model = nn.Sequential(Old())
    swap_blocks(model, [Swap(Old, New)])
    assert dict(model.named_buffers())["0.table"].tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("model_type", ["bert", "mpnet", "distilbert"])
def test_the_callers_model_stays_as_it_was(model_type: str) -> None:
    from QEfficient.architectures import find

    model = tiny(model_type).train()
    model.config._attn_implementation = attention = "eager" if model_type == "mpnet" else "sdpa"
    inputs = {name: value for name, value in batch(2, 6).items() if name != "token_type_ids"}
    tensors = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    classes = [type(module) for module in model.modules()]
    twin, swapped = exportable(model, find(model_type).swaps())
    assert len(swapped) == 2
    assert model.training and not twin.training
    assert (model.config._attn_implementation, twin.config._attn_implementation) == (attention, "eager")
    assert [type(module) for module in model.modules()] == classes
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert tensor is tensors[name][0] and torch.equal(tensor, tensors[name][1])
    with torch.no_grad():
        model.eval()(**inputs)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_each_layer_may_have_another_number_of_heads(model_type: str) -> None:
    from QEfficient.architectures import find
    from QEfficient.compress.pruning.groups import find_groups
    from QEfficient.compress.pruning.surgery import cut

    whole = tiny(model_type)
    heads = [one for one in find_groups(whole) if one.kind == "heads"]
    model = cut(whole, {heads[0].output: [0, 2, 3], heads[1].output: [1]})
    model.config._attn_implementation = "eager"  # type: ignore[union-attr]
    twin, swapped = exportable(model, find(model_type).swaps())
    assert [twin.get_submodule(one.path).heads for one in swapped] == [3, 1]
    inputs = {name: value for name, value in batch(3, 6).items() if name != "token_type_ids"}
    with torch.no_grad():
        wanted, got = model(**inputs)[0], twin(**inputs)[0]
    assert torch.allclose(got, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_the_copy_shares_every_tensor_that_no_rule_computes() -> None:
    from QEfficient.architectures import find

    model = tiny("bert")
    twin, _ = exportable(model, find("bert").swaps())
    theirs = dict(model.named_parameters())
    own = [name for name, tensor in twin.named_parameters() if theirs[name] is not tensor]
    assert own == [f"encoder.layer.{i}.attention.self.query.{leaf}" for i in range(2) for leaf in ("weight", "bias")]
    assert structural_copy(model).embeddings.position_ids is model.embeddings.position_ids


def test_half_precision_is_exported_in_float32_and_kept_for_the_caller() -> None:
    from QEfficient.architectures import find

    model = tiny("bert").to(torch.bfloat16)
    twin, _ = exportable(model, find("bert").swaps())
    assert {tensor.dtype for tensor in twin.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in model.parameters()} == {torch.bfloat16}
    assert torch.equal(twin.embeddings.word_embeddings.weight.bfloat16(), model.embeddings.word_embeddings.weight)


def test_logits_stay_in_the_range_of_fp16() -> None:
    """Queries and keys of 36 in 64 wide heads: the product is 82,944, and fp16 ends at 65,504."""
    query = key = torch.full((1, 2, 64), 36.0, dtype=torch.float16)
    value = torch.ones(1, 2, 64, dtype=torch.float16)
    assert not torch.isfinite(query @ key.transpose(1, 2)).any()
    assert torch.equal(attend(query / 8, key, value, 1, None, None), value)
