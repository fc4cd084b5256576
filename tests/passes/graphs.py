"""Graphs as ONNX text: what a pass makes of one, and what onnxruntime computes with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from QEfficient.onnx_transforms import PassFactory

HEAD = '<ir_version: 10, opset_import: ["": 18]>\n'

Arrays = Mapping[str, NDArray[np.generic]]


def model(text: str) -> ir.Model:
    """The graph of a text; without a header of its own it gets opset 18."""
    proto = onnx.parser.parse_model(text if text.lstrip().startswith("<") else HEAD + text)
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


def text(graph: ir.Model) -> str:
    """The graph as text, without node names and inner types, after ONNX's own check."""
    proto = ir.to_proto(graph)
    onnx.checker.check_model(proto)
    proto.graph.ClearField("value_info")
    return re.sub(r"\[node[^\]]*\] ", "", onnx.printer.to_text(proto))


def becomes(make: PassFactory, before: str, after: str) -> bool:
    """Whether a pass turns one text into the other, reports the truth about it, and finds nothing left to do."""
    graph = model(before)
    original = ir.to_proto(graph).SerializeToString(deterministic=True)
    modified = make()(graph).modified
    found, wanted = text(graph).splitlines(), text(model(after)).splitlines()
    assert found == wanted, "\n".join(difflib.unified_diff(wanted, found, "wanted", "found", lineterm=""))
    assert modified == (ir.to_proto(graph).SerializeToString(deterministic=True) != original)
    assert not make()(graph).modified
    return True


def compute(source: ir.Model | Path, inputs: Arrays) -> list[NDArray[np.generic]]:
    """onnxruntime's outputs, with its own graph optimisations switched off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it would warn of each constant that a pass left unused
    data = str(source) if isinstance(source, Path) else ir.to_proto(source).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(inputs)))
