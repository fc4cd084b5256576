"""How much each unit matters: against what its removal really does, and what can't be measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from QEfficient.compress.pruning.groups import UnitGroup, find_groups
from QEfficient.compress.pruning.importance import Batch, measure_importance
from QEfficient.errors import InputError, NumericsError, UsageError

SIZES: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def module() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, max_position_embeddings=32, initializer_range=0.3, **SIZES)
    return BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def groups(module: BertForSequenceClassification) -> tuple[UnitGroup, ...]:
    return find_groups(module)


def batch(rows: int = 3, length: int = 7, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 50, (rows, length), generator=random)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(rows) % 2}


def cross_entropy(model: nn.Module, rows: Batch) -> Tensor:
    logits = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits
    return nn.functional.cross_entropy(logits, rows["labels"], reduction="sum")


def with_gate(module: nn.Module, group: UnitGroup, unit: int, gate: float, call: Callable[[], Tensor]) -> float:
    """The loss with one unit's inputs times a number."""

    def hook(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        scale = torch.ones(group.units * group.width, dtype=inputs[0].dtype)
        scale[unit * group.width : (unit + 1) * group.width] = gate
        return (inputs[0] * scale,)

    handle = module.get_submodule(group.output).register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            return float(call())
    finally:
        handle.remove()


def test_it_is_the_squared_slope_of_each_row(
    module: BertForSequenceClassification, groups: tuple[UnitGroup, ...]
) -> None:
    rows = batch()
    found = measure_importance(module, groups, [rows], cross_entropy)
    double = module.double()
    try:
        for group in (groups[0], groups[3]):
            for unit in (0, group.units - 1):
                expected = 0.0
                for row in range(3):
                    one = {name: value[row : row + 1] for name, value in rows.items()}
                    near = [
                        with_gate(double, group, unit, gate, lambda one=one: cross_entropy(double, one))
                        for gate in (1 + 1e-5, 1 - 1e-5)
                    ]
                    expected += ((near[0] - near[1]) / 2e-5) ** 2
                assert found.values[group.output][unit] == pytest.approx(expected, rel=1e-3)
    finally:
        module.float()


def test_padding_does_not_count_and_batches_add_up(
    module: BertForSequenceClassification, groups: tuple[UnitGroup, ...]
) -> None:
    short, long = batch(1, 4), batch(1, 9, seed=1)
    apart = measure_importance(module, groups, [short, long], cross_entropy)
    ids, mask = torch.zeros(2, 9, dtype=torch.long), torch.zeros(2, 9, dtype=torch.long)
    for row, one in enumerate((short, long)):
        ids[row, : one["input_ids"].shape[1]] = one["input_ids"][0]
        mask[row, : one["input_ids"].shape[1]] = 1
    labels = torch.cat([short["labels"], long["labels"]])
    rows = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    together = measure_importance(module, groups, [rows], cross_entropy)
    for group in groups:
        np.testing.assert_allclose(together.values[group.output], apart.values[group.output], rtol=1e-3, atol=1e-9)

    def of_all_positions(model: nn.Module, rows: Batch) -> Tensor:
        found: Any = model
        return found.bert(rows["input_ids"], rows["attention_mask"]).last_hidden_state.square().sum()  # type: ignore[no-any-return]

    without = {**short, "attention_mask": torch.zeros_like(short["attention_mask"])}
    with pytest.raises(UsageError, match="does not depend"):  # nothing but padding
        measure_importance(module, groups, [without], of_all_positions)


def test_of_the_last_layer_only_the_first_token_matters_to_a_classifier(
    module: BertForSequenceClassification, groups: tuple[UnitGroup, ...]
) -> None:
    found = measure_importance(module, groups, [batch(3, 5), batch(2, 15)], cross_entropy)
    used = {(one.layer, one.kind): found.used[one.output] for one in groups}
    assert used[0, "heads"] == used[0, "feed_forward"] == 1.0
    assert used[1, "heads"] == used[1, "feed_forward"] == 5 / 45


def test_the_module_is_as_before_and_twice_gives_the_same(
    module: BertForSequenceClassification, groups: tuple[UnitGroup, ...]
) -> None:
    module.train()
    module.bert.embeddings.requires_grad_(False)
    try:
        wanted = [weight.requires_grad for weight in module.parameters()]
        rows = batch()
        with torch.no_grad():  # whatever the caller has entered
            first = measure_importance(module, groups, [rows], cross_entropy)
        second = measure_importance(module, groups, iter([rows]), cross_entropy)
        assert all((first.values[name] == second.values[name]).all() for name in first.values)
        assert module.training and [weight.requires_grad for weight in module.parameters()] == wanted
        assert all(weight.grad is None for weight in module.parameters())
        assert not any(part._forward_pre_hooks for part in module.modules())
    finally:
        module.eval().requires_grad_(True)


def test_what_can_not_be_measured_is_named(
    module: BertForSequenceClassification, groups: tuple[UnitGroup, ...]
) -> None:
    with pytest.raises(InputError, match="no rows"):
        measure_importance(module, groups, [], cross_entropy)
    with pytest.raises(UsageError, match="does not depend"):
        measure_importance(module, groups, [batch()], lambda model, rows: torch.tensor(1.0))
    with pytest.raises(UsageError, match="all gradients are 0"):
        measure_importance(module, groups, [batch()], lambda model, rows: 0 * cross_entropy(model, rows))
    with pytest.raises(NumericsError, match="batch 1"):
        measure_importance(
            module,
            groups,
            [batch(), batch(seed=1)],
            lambda model, rows: cross_entropy(model, rows) / (rows["input_ids"] == batch()["input_ids"]).all(),
        )

    def steep(model: nn.Module, rows: Batch) -> Tensor:
        """Finite itself; its slope is not."""
        return (
            cross_entropy(model, rows)
            + (cross_entropy(model, rows).detach() * 0 + 0 * cross_entropy(model, rows)).sqrt()
        )

    with pytest.raises(NumericsError, match=r"gradient[\s\S]*layer 0 .*batch 0"):
        measure_importance(module, groups, [batch()], steep)
    weight = module.bert.encoder.layer[1].intermediate.dense.weight
    before = weight.detach().clone()
    try:
        weight.data[3, 2] = torch.nan
        with pytest.raises(NumericsError, match=r"activation[\s\S]*layer 1 .*batch 0"):
            measure_importance(module, groups, [batch()], cross_entropy)
    finally:
        weight.data.copy_(before)
