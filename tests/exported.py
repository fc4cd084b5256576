"""A module's graph in a folder, as it was traced: nodes still have stack traces, which the graph passes take out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
from torch import nn

from QEfficient.export.exporter import traced
from QEfficient.onnx_transforms import describe
from QEfficient.records import OnnxModel


def export(module: nn.Module, *, folder: Path, **keywords: Any) -> OnnxModel:
    """Writes ``model.onnx`` and ``model.onnx.data`` into ``folder``; the keywords are those of ``traced``."""
    with traced(module, **keywords) as graph:
        ir.save(graph, folder / "model.onnx", external_data="model.onnx.data")
    return describe(folder / "model.onnx")
