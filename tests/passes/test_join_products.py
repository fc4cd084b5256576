"""Products of the same states become one, and what they compute stays the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from QEfficient.onnx_transforms.join_products import JoinProducts
from tests.passes.graphs import compute

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[b, s, 4] x) => (float[b, s, 3] q, float[b, s, 2] r, float[b, s, 5] v)
{
    q = MatMul (x, wq)
    k = MatMul (x, wk)
    r = Neg (k)
    v = MatMul (x, wv)
}
"""
WIDTHS = {"wq": 3, "wk": 2, "wv": 5}


def graph(text: str = GRAPH) -> ir.Model:
    proto = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for name, width in WIDTHS.items():
        numbers = random.standard_normal((4, width)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(numbers, name))
    return ir.from_proto(proto)


def kinds(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


STATES = {"x": np.random.default_rng(1).standard_normal((2, 7, 4)).astype(np.float32)}


def test_one_product_gives_what_each_gave() -> None:
    joined = graph()
    assert JoinProducts()(joined).modified
    assert kinds(joined) == {"Concat": 1, "MatMul": 1, "Split": 1, "Neg": 1}
    assert [value.name for value in joined.graph.outputs] == ["q", "r", "v"]
    for ours, theirs in zip(compute(joined, STATES), compute(graph(), STATES), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    assert not JoinProducts()(joined).modified


@pytest.mark.parametrize(
    ("change", "products"),
    [
        (("v = MatMul (x, wv)", "y = Neg (x)\n    v = MatMul (y, wv)"), 2),
        (("v = MatMul (x, wv)", "w = Neg (wv)\n    v = MatMul (x, w)"), 2),
        (("r = Neg (k)", "t = Neg (wk)\n    r9 = MatMul (x, t)\n    r = Add (r9, k)"), 3),
    ],
    ids=["other states", "no weight", "a weight that others read"],
)
def test_what_is_left_alone(change: tuple[str, str], products: int) -> None:
    text = GRAPH.replace(*change)
    joined = graph(text)
    assert JoinProducts()(joined).modified
    assert kinds(joined)["MatMul"] == products
    for ours, theirs in zip(compute(joined, STATES), compute(graph(text), STATES), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_single_products_stay() -> None:
    text = GRAPH.replace("(x, wk)", "(y, wk)").replace("(x, wv)", "(z, wv)")
    text = text.replace("q = MatMul", "y = Neg (x)\n    z = Abs (x)\n    q = MatMul")
    assert not JoinProducts()(graph(text)).modified
