"""A head that is stored by token is read as it is stored, and what it computes stays the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from QEfficient.onnx_transforms.transposed_weights import TransposedWeights
from tests.passes.graphs import compute

WIDTH, TOKENS = 6, 10
HEAD = """
<ir_version: 10, opset_import: ["" : 18]>
graph (float[STATES] h) => (float[RESULT] y)
{
    t = Transpose <perm = [1, 0]> (w)
    y = MatMul (h, t)
}
"""


def head(text: str = HEAD, states: str = "b, s", shape: tuple[int, ...] = (TOKENS, WIDTH)) -> ir.Model:
    text = text.replace("STATES", f"{states}, {WIDTH}").replace("RESULT", f"{states}, {TOKENS}")
    proto = onnx.parser.parse_model(text)
    numbers = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(numbers, "w"))
    return ir.from_proto(proto)


def result(model: ir.Model, states: NDArray[np.float32]) -> NDArray[np.generic]:
    return compute(model, {"h": states})[0]


def kinds(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_the_product_is_the_same(sizes: list[int]) -> None:
    names = ", ".join("abc"[: len(sizes)])
    states = np.random.default_rng(1).standard_normal((*sizes, WIDTH)).astype(np.float32)
    model = head(states=names)
    wanted = result(model, states)
    assert TransposedWeights()(model).modified
    assert kinds(model)["Gemm"] == 1 and not kinds(model).keys() & {"Transpose", "MatMul"}
    found = result(model, states)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert not TransposedWeights()(model).modified


def test_the_result_keeps_its_name_its_readers_and_its_shape() -> None:
    model = head(HEAD.replace("y = MatMul (h, t)", "z = MatMul (h, t)\n    y = Neg (z)"))
    assert TransposedWeights()(model).modified
    assert [node.op_type for node in model.graph][-2:] == ["Reshape", "Neg"]
    model = head()
    before = model.graph.outputs[0].shape
    TransposedWeights()(model)
    assert (model.graph.outputs[0].name, model.graph.outputs[0].shape) == ("y", before)


def test_a_weight_that_others_read_transposed_too_stays_for_them() -> None:
    two = HEAD.replace("(float[RESULT] y)", "(float[RESULT] y, float[6, 10] u)")
    model = head(two.replace("y =", "u = Neg (t)\n    y ="))
    assert TransposedWeights()(model).modified
    assert kinds(model)["Transpose"] == 1 and kinds(model)["Gemm"] == 1
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize(
    "changes",
    [
        [("Transpose <perm = [1, 0]>", "Identity")],
        [("Transpose <perm = [1, 0]> (w)", "Transpose <perm = [0, 1]> (w)")],
        [("t = Transpose", "v = Neg (w)\n    t = Transpose"), ("(w)\n    y", "(v)\n    y")],
    ],
)
def test_what_is_left_as_it_is(changes: list[tuple[str, str]]) -> None:
    text = HEAD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    stored = (WIDTH, TOKENS) if "Identity" in text or "[0, 1]" in text else (TOKENS, WIDTH)
    assert not TransposedWeights()(head(text, shape=stored)).modified
