"""FLOPs and parameters of a case's graph against torch's own count of HuggingFace's model, at one shape.

Torch counts twice: ``FlopCounterMode`` over a plain call, and after a backward pass the parameters that have a
gradient, which are those that the result depends on (a pooler that nobody asks for has none; tied ones count once).
What the graph has more or less than that is listed here with its reason, and must be exactly that, give or take 1 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from QEfficient import QEFFAutoModel
from QEfficient.analysis.costs import bucket_costs
from QEfficient.analysis.memory import weights_of
from QEfficient.diagnostics.analyze import module_side
from QEfficient.onnx_transforms.graph_file import describe, read
from QEfficient.records import Shape
from tests.sweep import roads
from tests.sweep.build import tokens
from tests.sweep.case import LIMIT, Case, Inputs

ROWS, LENGTH = 2, 16
TOLERANCE = 0.01


@dataclass(frozen=True)
class Difference:
    """What a graph has more than HuggingFace's model.

    Attributes:
        flops, parameters: How many; negative where it has less.
        why: What the rewrite is.
    """

    flops: int = 0
    parameters: int = 0
    why: str = ""


ROTARY = Difference(parameters=2 * LIMIT * 8, why="cosines and sines are tables: positions × width of a head, twice")

KNOWN: dict[str, Difference] = {
    "albert": Difference(),
    "bert": Difference(),
    "big_bird": Difference(),
    "convbert": Difference(),
    "distilbert": Difference(),
    "electra": Difference(),
    "mpnet": Difference(),
    "roberta": Difference(),
    "squeezebert": Difference(),
    "gpt2": Difference(),
    "t5": Difference(),
    "convnext": Difference(),
    "vit": Difference(),
    "wav2vec2": Difference(),
    "llama": ROTARY,
    "qwen3": ROTARY,
    "deberta-v2": Difference(
        # two layers, two projections (key, query) of 16 relative positions, width 32
        flops=-2 * 2 * (2 * 16 * 32 * 32),
        parameters=2 * 2 * 16 * 32 - 16 * 32,
        why="relative positions are projected once, when the graph is made: the products stand in it, not their table",
    ),
    "mixtral": Difference(
        # one layer, three matrices of 32 × 48, every token
        flops=3 * 2 * (ROWS * LENGTH) * 32 * 48 * (4 - 2),
        parameters=ROTARY.parameters,
        why="every token goes through all 4 experts, not only through its own 2; and the rotary tables",
    ),
    "resnet": Difference(parameters=-288, why="batch norms are folded into the convolutions before them"),
}


def agree(case: Case, ours: QEFFAutoModel, model: nn.Module) -> None:
    """The graph, and what ``analyze`` says of HuggingFace's module, both agree with torch.

    Args:
        case: A case of :data:`KNOWN`.
        ours: Exported.
        model: The same weights, in a model of transformers that may be changed.
    """
    known, graph = KNOWN[case.name], describe(Path(str(ours.onnx_path)))
    inputs = roads.with_all(case, ours, tokens((ROWS, LENGTH, "none")) if case.inputs is None else case.inputs()[0])
    flops, used, whole = torch_counts(case, model, inputs)
    bucket = _bucket(inputs, {dim for spec in graph.inputs for dim in spec.shape})
    costs = bucket_costs(graph, bucket)
    parameters = sum(weight.elements for weight in weights_of(read(graph.path)) if weight.floating)
    assert not costs.unknown
    assert abs(costs.flops - known.flops - flops) <= TOLERANCE * flops, (costs.flops, flops, known.why)
    assert abs(parameters - known.parameters - used) <= TOLERANCE * used, (parameters, used, known.why)
    before = module_side(ours._subject(), graph.inputs, bucket)
    assert before.parameters == sum(part.parameters for part in before.modules) == whole
    assert before.flops == sum(part.flops for part in before.modules)
    assert abs(before.flops - flops) <= TOLERANCE * flops


def torch_counts(case: Case, model: nn.Module, inputs: Inputs) -> tuple[int, int, int]:
    """FLOPs of one call, parameters that the result depends on, and all parameters."""
    model.set_attn_implementation("eager")  # type: ignore[operator]
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # type: ignore[operator]
    with FlopCounterMode(display=False) as counter:
        outputs = case.call(model, inputs)
    torch.stack([output.float().sum() for output in outputs]).sum().backward()
    unique = {id(parameter): parameter for parameter in model.parameters()}.values()
    used = sum(one.numel() for one in unique if one.grad is not None or not one.requires_grad)
    return counter.get_total_flops(), used, sum(one.numel() for one in unique)


def _bucket(inputs: Inputs, dims: set[int | str]) -> Shape:
    rows, length = next(iter(inputs.values())).shape[:2]
    return Shape(length, rows) if "seq_len" in dims else Shape(batch=rows)
