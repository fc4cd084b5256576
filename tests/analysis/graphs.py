"""Graphs as ONNX text, on disk, for the tests of what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from QEfficient.onnx_transforms import describe
from QEfficient.records import OnnxModel, Shape
from tests.passes.graphs import HEAD

NAME_SCOPES = "pkg.torch.onnx.name_scopes"
BUCKET = Shape(length=8, batch=2)


def write(
    folder: Path,
    text: str,
    weights: Mapping[str, NDArray[np.generic]] | None = None,
    modules: Mapping[str, str] | None = None,
) -> OnnxModel:
    """The graph of a text as a file.

    Args:
        folder: Where ``model.onnx`` goes.
        text: The graph; without a header of its own it gets opset 18. Free dims are ``batch_size`` and ``seq_len``.
        weights: Initializers by name.
        modules: Name of a node's first output → path of its torch module, as the exporter notes it.
    """
    proto = onnx.parser.parse_model(text if text.lstrip().startswith("<") else HEAD + text)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in (weights or {}).items())
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    for node in nodes:
        path = (modules or {}).get(node.output[0])
        if path is not None:
            node.metadata_props.add(key=NAME_SCOPES, value=repr(["", path, node.op_type]))
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(proto, folder / "model.onnx")
    return describe(folder / "model.onnx")


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """A weight of this shape."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
