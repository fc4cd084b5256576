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


LAYER = """
<ir_version: 10, opset_import: ["": 18]>
g (float[b, s, 8] h, int64[b, s] mask) => (float[b, s, 8] y)
<float one = {1.0}, float lowest = {-1e30}, int64[4] split = {0, 0, 2, 4},
 int64[3] whole = {0, 0, 8}, int64[2] axes = {1, 2}>
{
    x = LayerNormalization (h, gain, shift)
    q0 = MatMul (x, wq)
    q1 = Add (q0, bq)
    q2 = Reshape (q1, split)
    q = Transpose <perm = [0, 2, 1, 3]> (q2)
    k0 = MatMul (x, wk)
    k1 = Add (bk, k0)
    k2 = Reshape (k1, split)
    k = Transpose <perm = [0, 2, 3, 1]> (k2)
    v0 = MatMul (x, wv)
    v1 = Add (v0, bv)
    v2 = Reshape (v1, split)
    v = Transpose <perm = [0, 2, 1, 3]> (v2)
    m0 = Unsqueeze (mask, axes)
    m1 = Cast <to = 1> (m0)
    m2 = Sub (one, m1)
    m = Mul (m2, lowest)
    l0 = MatMul (q, k)
    l = Add (l0, m)
    p = Softmax <axis = -1> (l)
    c0 = MatMul (p, v)
    c1 = Transpose <perm = [0, 2, 1, 3]> (c0)
    c = Reshape (c1, whole)
    o0 = MatMul (c, wo)
    o = Add (o0, bo)
    y = Add (o, x)
}
"""


WEIGHTS = {name: (8, 8) for name in ("wq", "wk", "wv", "wo")} | {
    name: (8,) for name in ("gain", "shift", "bq", "bk", "bv", "bo")
}


def layer(text: str = LAYER) -> ir.Model:
    """The graph with random weights and every shape known, as an export has them."""
    proto = onnx.parser.parse_model(text)
    numbers = np.random.default_rng(0)
    for name, shape in WEIGHTS.items():
        values = numbers.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.checker.check_model(proto)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
