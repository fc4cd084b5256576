"""The model before transformation: HuggingFace's own module, counted by torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from QEfficient.analysis.record import ModuleAnalysis, ModuleCosts
from QEfficient.records import Shape


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """A call of a model, so that torch counts its FLOPs.

    Attributes:
        module: What is called: the model, or a module that holds a copy of it or of a part of it.
        inputs: Input name → array.
        bucket: Their shape.
        inside: Path in ``module`` where that copy stands.
        part: Path in the model of the part that it is a copy of.
    """

    module: nn.Module
    inputs: Mapping[str, NDArray[np.generic]]
    bucket: Shape
    inside: str = ""
    part: str = ""


def module_analysis(model: nn.Module, run: ForwardPass | None = None) -> ModuleAnalysis:
    """Parameters of a torch module, by module, and its FLOPs in one run.

    Args:
        model: HuggingFace's model.
        run: Left out, nothing is run and the FLOPs stay 0.
    """
    parameters, tied = _parameters(model)
    held: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    for name, parameter in parameters.items():
        held[name.rpartition(".")[0]] += parameter.numel()
        dtypes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    flops = {} if run is None else _flops(run)
    kinds = {path: type(part).__name__ for path, part in model.named_modules()}
    paths = [path for path in (*kinds, *(path for path in flops if path not in kinds)) if held[path] or flops.get(path)]
    return ModuleAnalysis(
        model_class=type(model).__name__,
        dtype=dtypes.most_common(1)[0][0] if dtypes else "",
        parameters=held.total(),
        bytes=sum(one.numel() * one.element_size() for one in parameters.values()),
        tied=tied,
        modules=tuple(ModuleCosts(path, kinds.get(path, ""), held[path], flops.get(path, 0)) for path in paths),
        bucket=None if run is None else run.bucket,
        flops=sum(flops.values()),
    )


def _parameters(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """Each parameter under its first name, and the other names → the first one."""
    first: dict[int, str] = {}
    parameters: dict[str, nn.Parameter] = {}
    tied: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            tied[name] = first[id(parameter)]
        else:
            first[id(parameter)] = name
            parameters[name] = parameter
    return parameters, tied


def _flops(run: ForwardPass) -> dict[str, int]:
    """Path of a module in the model → FLOPs of what it computes itself, its children apart."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in run.inputs.items()}
    # With gradients: without, the counter fails on a module that is called with a parameter (torch 2.13).
    with torch.enable_grad(), FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
        run.module(**tensors)
    root = type(run.module).__name__
    whole = {
        path.removeprefix(root).removeprefix("."): sum(counts.values())
        for path, counts in counter.get_flop_counts().items()
        if path == root or path.startswith(f"{root}.")
    }
    own = dict(whole)
    for path, count in whole.items():
        if path:
            own[_parent(path, whole)] -= count
    return {_in_model(path, run): count for path, count in own.items() if count}


def _formulas() -> dict[Any, Callable[..., int]]:
    """Matrix products that torch's counter has no formula for: it would leave them out without a word."""
    aten = torch.ops.aten
    found: dict[Any, Callable[..., int]] = {aten._grouped_mm: _grouped}
    found[aten._scaled_dot_product_flash_attention_for_cpu] = _attention
    if hasattr(torch.ops.transformers, "grouped_mm_fallback"):
        found[torch.ops.transformers.grouped_mm_fallback] = _grouped
    return found


def _grouped(rows: Sequence[int], weights: Sequence[int], *_: object, **__: object) -> int:
    """Rows ``(n, k)``, each with one of the experts' matrices ``(experts, k, m)``."""
    return 2 * math.prod(rows) * weights[-1]


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Scores and weighted sum; shapes ``(batch, heads, length, width)``."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _parent(path: str, known: Mapping[str, int]) -> str:
    """The nearest module around ``path`` that was called; a container such as ``ModuleList`` never is."""
    while path:
        path = path.rpartition(".")[0]
        if path in known:
            return path
    return ""


def _in_model(path: str, run: ForwardPass) -> str:
    if run.inside and path != run.inside and not path.startswith(f"{run.inside}."):
        return path  # beside the model: a pooling head
    rest = path.removeprefix(run.inside).removeprefix(".")
    return ".".join(piece for piece in (run.part, rest) if piece)
