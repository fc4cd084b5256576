"""Rotary positions from a table.

transformers computes the angles in every call, position × frequency. In fp16 position 500 has an angle that is off by
up to 0.25, and 4097 is no number at all. The cosines and sines themselves lie between -1 and 1, where fp16 is good to
0.0005, so the graph holds those, for every position that a row can have.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]


class RotaryTable(nn.Module):
    """In place of a module ``(states, position_ids[, layer_type]) -> (cos, sin)``.

    Args:
        tables: Kind of layer → cosines and sines of every position, ``(positions, width)`` each; ``""`` where all
            layers have the same.
    """

    def __init__(self, tables: Mapping[str, Pair]) -> None:
        super().__init__()
        for kind, (cos, sin) in tables.items():
            self.register_buffer(f"cos_{kind}", cos, persistent=False)
            self.register_buffer(f"sin_{kind}", sin, persistent=False)

    def forward(self, x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> Pair:
        """Positions of shape (rows, length) → cosines and sines of (rows, length, width)."""
        kind = layer_type or ""
        return self.get_buffer(f"cos_{kind}")[position_ids], self.get_buffer(f"sin_{kind}")[position_ids]


def tabulate(model: nn.Module, positions: int | None) -> None:
    """Puts tables in the place of rotary positions that transformers computes, in ``model`` itself.

    Args:
        model: A copy that is going to be exported.
        positions: Most tokens of a row; without a limit there is no table, and nothing changes.
    """
    if positions is None:
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            tables = _tables(child, positions) if _is_rotary(child) else None
            if tables is not None:
                setattr(parent, name, RotaryTable(tables))


def _is_rotary(module: nn.Module) -> bool:
    """Whether a module turns plain positions into angles, as Llama's does."""
    parameters = list(inspect.signature(module.forward).parameters)
    known = parameters in (["x", "position_ids"], ["x", "position_ids", "layer_type"])
    rope = getattr(getattr(module, "config", None), "rope_parameters", None) or {}
    # "mrope": positions in pictures, three a token; NeoMME's are two.
    pictures = any("mrope" in str(key) for key in rope) or hasattr(module, "recomposition_frequencies")
    return known and hasattr(module, "rope_type") and not pictures


def _tables(module: Any, positions: int) -> dict[str, Pair] | None:
    """What the module gives for every position; ``None`` where that is no pair (DeepSeek gives complex numbers)."""
    ids = torch.arange(positions).unsqueeze(0)
    kinds = (module.rope_type if isinstance(module.rope_type, dict) else None) or ("",)
    tables = {}
    for kind in kinds:
        with torch.no_grad():
            found = module(torch.zeros(1), ids, *([kind] if kind else []))
        if not isinstance(found, tuple) or [part.shape[:2] for part in found] != [ids.shape, ids.shape]:
            return None
        tables[kind] = (found[0][0], found[1][0])
    return tables
