"""Rotary positions: tables in place of angles, and the kinds that change their angles with the longest row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from QEfficient.architectures import find
from QEfficient.architectures.record import any_positions, rotary
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.pytorch_transforms.rotary import RotaryTable, tabulate
from tests.generation.tiny_decoders import ROPES
from tests.sweep.build import build
from tests.sweep.case import LIMIT, Case
from tests.sweep.decoders import BOTH, LLAMA

SHORT = [1.0, 1.5, 2.0, 2.5]
KINDS: dict[str, dict[str, Any]] = {
    "dynamic": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    "longrope": {
        "rope_type": "longrope", "short_factor": SHORT, "long_factor": [2.0, 3.0, 4.0, 8.0],
        "rope_theta": 10000.0, "original_max_position_embeddings": LIMIT, "factor": 2.0,
    },
}  # fmt: skip
LLAMA_CASE = Case("llama", "LlamaModel", LLAMA, std=0.3)


def llama(kind: str) -> Case:
    longest = 2 * LIMIT if kind == "longrope" else LIMIT
    return Case(
        "llama", "LlamaModel", LLAMA | {"max_position_embeddings": longest, "rope_parameters": KINDS[kind]}, std=0.3
    )


def states(model: nn.Module, length: int) -> Tensor:
    ids = torch.randint(5, 97, (2, length), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out: Tensor = model(input_ids=ids).last_hidden_state
    return out


def rotaries(model: nn.Module) -> list[nn.Module]:
    return [part for name, part in model.named_modules() if name.endswith("rotary_emb")]


@pytest.mark.parametrize("case", [LLAMA_CASE, Case("gemma3_text", "Gemma3TextModel", BOTH)], ids=lambda c: c.model_type)
def test_a_table_gives_the_same_states(case: Case) -> None:
    model = build(case)
    twin, _ = exportable(model)
    tabulate(twin, LIMIT)
    assert [type(part) for part in rotaries(twin)] == [RotaryTable]
    assert not any(isinstance(part, RotaryTable) for part in model.modules())
    torch.testing.assert_close(states(twin, LIMIT), states(model, LIMIT), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "llama3", "yarn"])
def test_a_table_of_scaled_angles_gives_the_same_states(kind: str) -> None:
    case = Case("llama", "LlamaModel", LLAMA | {"rope_parameters": ROPES[kind]}, std=0.3)
    plain = Case("llama", "LlamaModel", LLAMA | {"rope_parameters": ROPES[kind] | {"rope_type": "default"}}, std=0.3)
    model = build(case)
    twin, _ = exportable(model)
    tabulate(twin, LIMIT)
    assert [type(part) for part in rotaries(twin)] == [RotaryTable]
    torch.testing.assert_close(states(twin, LIMIT), states(model, LIMIT), rtol=1e-5, atol=1e-5)
    assert (states(twin, LIMIT) - states(build(plain), LIMIT)).abs().max() > 0.1


def test_without_a_limit_or_with_complex_numbers_there_is_no_table() -> None:
    twin, _ = exportable(build(LLAMA_CASE))
    tabulate(twin, None)
    assert not any(isinstance(part, RotaryTable) for part in twin.modules())
    config = transformers.DeepseekV2Config(max_position_embeddings=LIMIT, qk_rope_head_dim=8)
    holder = nn.ModuleDict(
        {"rotary_emb": transformers.models.deepseek_v2.modeling_deepseek_v2.DeepseekV2RotaryEmbedding(config)}
    )
    tabulate(holder, LIMIT)
    assert not isinstance(holder["rotary_emb"], RotaryTable)


@pytest.mark.parametrize("kind", list(KINDS))
def test_angles_do_not_depend_on_rows_that_came_before(kind: str) -> None:
    case = llama(kind)
    wanted = states(build(case), LIMIT)
    model = build(case)
    states(model, 2 * LIMIT)  # HuggingFace's model now holds the angles of long rows
    twin, _ = exportable(model)
    tabulate(twin, LIMIT)
    torch.testing.assert_close(states(twin, LIMIT), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_limit_is_where_the_angles_change(kind: str) -> None:
    model = build(llama(kind))
    assert find("llama").max_length(model.config.to_dict()) == LIMIT
    [inner] = rotaries(model)
    angles = [inner(torch.zeros(1), torch.arange(length)[None])[0][0, 3] for length in (LIMIT, LIMIT + 1)]
    assert (angles[0] - angles[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({}, 2048),
        ({"max_position_embeddings": 99}, 99),
        ({"max_position_embeddings": 131072, "rope_scaling": None}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({"max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
          "rope_scaling": {"type": "su"}}, 4096),
        ({"max_position_embeddings": 99, "rope_parameters": {"full_attention": {"rope_type": "longrope",
          "original_max_position_embeddings": 9}}}, 9),
        ({"max_position_embeddings": 99, "rope_parameters": {"rope_type": "dynamic"}}, 99),
    ],
)  # fmt: skip
def test_limits(config: dict[str, Any], limit: int) -> None:
    assert rotary(config) == limit
    if "max_position_embeddings" in config:
        assert any_positions(config) == limit
