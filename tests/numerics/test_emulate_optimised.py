"""onnxruntime's optimisations leave every rounding in place.

Of 1.32 none removes a cast to fp16 and back, and none fuses across one, so the emulation runs with all of them on.
One reorders sums: the blocked layout of convolutions. All others leave each bit.
These tests would find the first that does: shapes of graphs that onnxruntime knows how to fuse, with and without it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from QEfficient.numerics.emulate import Precision, emulated, open_emulated
from QEfficient.onnx_transforms import describe
from QEfficient.records import OnnxModel, Shape

HEAD = '<ir_version: 10, opset_import: ["": 18]>\n'
KNOWN = {
    "layer norm": """g (float[2,3,32] x) => (float[2,3,32] y) { m = ReduceMean <keepdims = 1> (x, last)
        d = Sub (x, m)  p = Pow (d, two)  v = ReduceMean <keepdims = 1> (p, last)  e = Add (v, tiny)  s = Sqrt (e)
        q = Div (d, s)  r = Mul (q, scale)  y = Add (r, bias) }""",
    "rms norm": """g (float[2,3,32] x) => (float[2,3,32] y) { p = Pow (x, two)
        v = ReduceMean <keepdims = 1> (p, last)  e = Add (v, tiny)  s = Sqrt (e)  i = Div (one, s)  q = Mul (x, i)
        y = Mul (scale, q) }""",
    "rms norm in double": """g (float[2,3,32] x) => (float[2,3,32] y) { xd = Cast <to = 11> (x)  p = Mul (xd, xd)
        v = ReduceMean <keepdims = 1> (p, last)  s = Sqrt (v)  q = Div (xd, s)  f = Cast <to = 1> (q)
        y = Mul (scale, f) }""",
    "gelu of a bias": """g (float[2,3,32] x) => (float[2,3,32] y) { b = Add (x, bias)  a = Div (b, root)  e = Erf (a)
        o = Add (e, one)  m = Mul (b, o)  y = Mul (m, half) }""",
    "quick gelu": "g (float[2,3,32] x) => (float[2,3,32] y) { a = Mul (x, root)  s = Sigmoid (a)  y = Mul (x, s) }",
    "attention": """g (float[2,3,32] x, int64[2,3] mask) => (float[2,3,32] y) { q0 = MatMul (x, w)  q1 = Add (q0, bias)
        q2 = Reshape (q1, four)  q = Transpose <perm = [0,2,1,3]> (q2)  k0 = MatMul (x, u)  k1 = Add (k0, bias)
        k2 = Reshape (k1, four)  k = Transpose <perm = [0,2,3,1]> (k2)  s0 = MatMul (q, k)  s1 = Mul (s0, half)
        f = Cast <to = 1> (mask)  off = Sub (one, f)  far = Mul (off, low)  m = Unsqueeze (far, axes)
        s2 = Add (s1, m)  p = Softmax <axis = -1> (s2)  c0 = MatMul (p, q)  c1 = Transpose <perm = [0,2,1,3]> (c0)
        c2 = Reshape (c1, flat)  o = MatMul (c2, w)  y = Add (o, x) }""",
    "product of a turned weight": """g (float[6,32] x) => (float[6,32] y) { t = Transpose <perm = [1,0]> (w)
        a = MatMul (x, t)  c = Add (a, bias)  d = Relu (c)  f = Mul (d, root)  y = MatMul (f, u) }""",
    "skipped layer norm": """g (float[2,3,32] x, float[2,3,32] z) => (float[2,3,32] y) { c = Add (x, bias)
        a = Add (c, z)  y = LayerNormalization <axis = -1, epsilon = 1e-5> (a, scale, bias) }""",
    "nothing to do": """g (float[2,3,32] x) => (float[2,3,32] y) { r = Relu (x)  c = Clip (r, zero, root)
        a = Add (c, zero)  b = Mul (a, one)  y = Div (b, one) }""",
    "casts of the graph's own": """g (float[2,3,32] x) => (float[2,3,32] y, int64[2,3,32] z) { a = Mul (x, root)
        b = Cast <to = 10> (a)  c = Cast <to = 1> (b)  s = Softmax (c)  d = Cast <to = 10> (s)  y = Cast <to = 1> (d)
        z = Cast <to = 7> (a) }""",
}

CONVOLUTION = {
    "convolution": """g (float[1,4,8,8] x, float[1,8,6,6] z) => (float[1,8,6,6] y) { c = Conv (x, kernel, eight)
        n = BatchNormalization <epsilon = 1e-5> (c, eight, eight, eight, square)  d = Add (n, z)  y = Relu (d) }""",
}
"""Here onnxruntime adds in another order, by its blocked layout (NchwcTransformer), so the last bit may differ."""


def weights() -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0)
    shapes = {"scale": 32, "bias": 32, "w": (32, 32), "u": (32, 32), "kernel": (8, 4, 3, 3), "eight": 8}
    arrays = {name: noise.standard_normal(shape).astype(np.float32) / 3 for name, shape in shapes.items()}
    arrays["square"] = arrays["eight"] ** 2 + np.float32(0.1)
    scalars = {"zero": 0, "one": 1, "two": 2, "half": 0.353553, "root": 1.4142135, "tiny": 1e-5, "low": -1e4}
    arrays |= {name: np.float32(value) for name, value in scalars.items()}
    lists = {"last": [-1], "axes": [1, 2], "four": [2, 3, 4, 8], "flat": [2, 3, 32]}
    return arrays | {name: np.array(value) for name, value in lists.items()}


def known(folder: Path, text: str) -> tuple[OnnxModel, dict[str, np.ndarray]]:
    proto = onnx.parser.parse_model(HEAD + text)
    made = {name for node in proto.graph.node for name in node.output}
    read = {name for node in proto.graph.node for name in node.input} - made
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in weights().items() if name in read
    )
    onnx.save_model(proto, folder / "graph.onnx")
    noise, inputs = np.random.default_rng(1), {}
    for value in proto.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        floats = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        inputs[value.name] = noise.standard_normal(shape).astype(np.float32) if floats else noise.integers(0, 2, shape)
    return describe(folder / "graph.onnx"), inputs


def plain(model: OnnxModel, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Each node by itself: all of onnxruntime's optimisations are off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.path, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


@pytest.mark.parametrize("text", KNOWN.values(), ids=KNOWN)
def test_optimisations_change_no_bit(tmp_path: Path, text: str) -> None:
    model, inputs = known(tmp_path, text)
    with open_emulated(model, Precision(), buckets=[Shape(8, 8)]) as session:
        found = session.run(inputs)
    want = plain(emulated(model, tmp_path / "emulated", Precision()), inputs)
    for spec, array in zip(model.outputs, want, strict=True):
        assert found[spec.name].tobytes() == array.tobytes()


@pytest.mark.parametrize("text", (KNOWN | CONVOLUTION).values(), ids=KNOWN | CONVOLUTION)
def test_every_value_is_a_number_of_fp16(tmp_path: Path, text: str) -> None:
    model, inputs = known(tmp_path, text)
    inner = [name for node in onnx.load(model.path).graph.node for name in node.output]
    watched = emulated(model, tmp_path / "emulated", Precision(), watch=inner)
    with open_emulated(model, Precision(), buckets=[Shape(8, 8)], watch=inner) as session:
        fused = session.run(inputs)
    assert len(fused) == len(inner)
    for spec, array in zip(watched.outputs, plain(watched, inputs), strict=True):
        for found in (array, fused[spec.name]):
            assert found.dtype.kind != "f" or (found == found.astype(np.float16)).all(), spec.name
    assert any(array.dtype.kind == "f" and array.any() for array in fused.values())
