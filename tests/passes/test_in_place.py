"""Which state may be overwritten while a graph runs: what one scatter reads, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from QEfficient.onnx_transforms.in_place import read_where_written
from QEfficient.onnx_transforms.inline_functions import write_inlined

_HEAD = '<ir_version: 9, opset_import: ["" : 18, "own" : 1]>'
_FUNCTION = """
<opset_import: ["" : 18, "own" : 1], domain: "own">
Write (data, place, number) => (output) {
    size = Shape (data)
    here = Mod (place, size)
    output = ScatterND (data, here, number)
}
<opset_import: ["" : 18, "own" : 1], domain: "own">
Deep (data, place, number) => (output) { output = own.Write (data, place, number) }
<opset_import: ["" : 18, "own" : 1], domain: "own">
Both (data, place, number) => (output) {
    sum = ReduceSum <keepdims = 0> (data)
    more = Add (number, sum)
    output = ScatterND (data, place, more)
}
"""


def graph(body: str, folder: Path) -> Path:
    path = folder / "model.onnx"
    ends = "(float[n] x, int64[k, 1] place, float[k] number) => (float[n] y, float[] z)"
    text = f"{_HEAD} g {ends} {{ {body} }} {_FUNCTION}"
    model = onnx.parser.parse_model(text)
    onnx.save(model, path)
    return path


ALONE = "one = Constant <value = float {1.0}> () z = Neg (one)"
IN_BRANCH = """
    y = ScatterND (x, place, number)
    yes = Constant <value = bool {1}> ()
    z = If (yes) <
        then_branch = a () => (float[] u) { u = ReduceSum <keepdims = 0> (x) },
        else_branch = b () => (float[] v) { v = Constant <value = float {1.0}> () }
    >
"""
SHAPE = """
    y = ScatterND (x, place, number)
    size = Shape (x)
    wide = Cast <to = 1> (size)
    z = ReduceSum <keepdims = 0> (wide)
"""


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (f"y = ScatterND (x, place, number) {ALONE}", True),
        ("y = ScatterND (x, place, number) z = ReduceSum <keepdims = 0> (y)", True),
        (f"y = own.Write (x, place, number) {ALONE}", True),
        (f"y = own.Deep (x, place, number) {ALONE}", True),
        (SHAPE, True),
        ("y = ScatterND (x, place, number) z = ReduceSum <keepdims = 0> (x)", False),
        ("y = own.Write (x, place, number) z = ReduceSum <keepdims = 0> (x)", False),
        (f"y = own.Both (x, place, number) {ALONE}", False),
        (f"other = Neg (x) y = ScatterND (other, place, x) {ALONE}", False),
        (f"y = Neg (x) {ALONE}", False),
        (f"y = ScatterND (number, place, x) {ALONE}", False),
        (IN_BRANCH, False),
    ],
)
def test_what_only_a_scatter_reads(tmp_path: Path, body: str, found: bool) -> None:
    assert read_where_written(graph(body, tmp_path), ["x"]) == (("x",) if found else ())


@pytest.mark.parametrize(("place", "found"), [(3, True), (4, True), (0, False)])
def test_attention_writes_into_its_caches_alone(tmp_path: Path, place: int, found: bool) -> None:
    names = ["q", "k", "v", "pk", "pv", "s", "t"]
    names[place] = "x"
    inputs = ", ".join(f"float[a] {name}" for name in names)
    text = f"""<ir_version: 9, opset_import: ["" : 18, "com.microsoft" : 1]>
        g ({inputs}) => (float[a] o, float[a] k1, float[a] v1)
        {{ o, k1, v1 = com.microsoft.GroupQueryAttention ({", ".join(names)}) }}"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    assert read_where_written(tmp_path / "model.onnx", ["x"]) == (("x",) if found else ())


def test_inlined_functions_compute_the_same(tmp_path: Path) -> None:
    path = graph("y = own.Deep (x, place, number) z = ReduceSum <keepdims = 0> (y)", tmp_path)
    before = path.read_bytes()
    write_inlined(path, tmp_path / "plain.onnx")
    plain = onnx.load(tmp_path / "plain.onnx")
    assert {node.domain for node in plain.graph.node} == {""}
    assert path.read_bytes() == before
    feed = {"x": np.zeros(3, np.float32), "place": np.array([[4]]), "number": np.array([5], np.float32)}
    found = [
        onnx.reference.ReferenceEvaluator(str(tmp_path / name)).run(None, feed) for name in ("model.onnx", "plain.onnx")
    ]
    assert found[0][0].tolist() == found[1][0].tolist() == [0, 5, 0]
