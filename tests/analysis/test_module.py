"""HuggingFace's side: parameters by module, tied ones once, and FLOPs where they are computed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from QEfficient.analysis.module import ForwardPass, module_analysis
from QEfficient.analysis.record import ModuleCosts
from QEfficient.records import Shape

BUCKET = Shape(length=8, batch=2)
IDS = {"ids": np.ones((2, 8), np.int64)}


class Tied(nn.Module):
    """Words, two layers in a list, and logits from the words' own table."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 6)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.logits = nn.Linear(6, 50, bias=False)
        self.logits.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states = self.words(ids)
        for layer in self.layers:
            states = layer(states) @ self.layers[0].weight
        return self.logits(states)  # type: ignore[no-any-return]


def test_parameters_by_module_and_tied_ones_once() -> None:
    found = module_analysis(Tied())
    assert (found.model_class, found.dtype) == ("Tied", "float32")
    assert (found.parameters, found.bytes) == (50 * 6 + 2 * 42, 4 * (50 * 6 + 2 * 42))
    assert found.tied == {"logits.weight": "words.weight"}
    assert (found.flops, found.bucket) == (0, None)
    assert found.modules == (
        ModuleCosts("words", "Embedding", 300),
        ModuleCosts("layers.0", "Linear", 42),
        ModuleCosts("layers.1", "Linear", 42),
    )


def test_flops_belong_to_the_module_that_computes_them() -> None:
    """What ``forward`` multiplies itself belongs to the model, not to its parts."""
    rows = 2 * 8
    found = module_analysis(Tied(), ForwardPass(Tied(), IDS, BUCKET))
    flops = {part.path: part.flops for part in found.modules}
    layer = 2 * rows * 36
    assert flops == {"": 2 * layer, "words": 0, "layers.0": layer, "layers.1": layer, "logits": 2 * rows * 6 * 50}
    assert found.flops == sum(flops.values())
    assert found.bucket == BUCKET


class Around(nn.Module):
    """A copy of the model's part with a head behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = Tied(), nn.Linear(50, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(ids))  # type: ignore[no-any-return]


def test_a_part_that_is_run_inside_another_module_keeps_its_own_names() -> None:
    whole = nn.ModuleDict({"encoder": Tied()})
    found = module_analysis(whole, ForwardPass(Around(), IDS, BUCKET, inside="inner", part="encoder"))
    flops = {part.path: part.flops for part in found.modules if part.flops}
    assert set(flops) == {"encoder", "encoder.layers.0", "encoder.layers.1", "encoder.logits", "head"}
    assert flops["head"] == 2 * 16 * 50 * 3


class Fused(nn.Module):
    """Products that torch's counter knows nothing of."""

    def forward(self, x: torch.Tensor, experts: torch.Tensor) -> torch.Tensor:
        attended = nn.functional.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None])[0, 0]
        ends = torch.tensor([4, 16], dtype=torch.int32)
        return torch._grouped_mm(attended.bfloat16(), experts.bfloat16(), offs=ends)  # type: ignore[no-any-return]


def test_grouped_products_and_fused_attention_are_counted() -> None:
    arrays = {"x": np.ones((16, 32), np.float32), "experts": np.ones((2, 32, 16), np.float32)}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        Fused()(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    assert counter.get_total_flops() == 0
    attention, experts = 2 * 2 * 16 * 16 * 32, 2 * 16 * 32 * 16
    assert module_analysis(Fused(), ForwardPass(Fused(), arrays, BUCKET)).flops == attention + experts
