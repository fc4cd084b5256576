"""A root-mean-square norm as one operator: as it is exported, and as it is scaled for fp16."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from QEfficient.onnx_transforms.join_norms import OPERATOR, JoinNorms
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.onnx_transforms.scale_squares import ScaleSquares
from tests.passes.graphs import compute, model

NORM = """
    g (float[n, 4] x) => (float[n, 4] y)
    <float two = {2}, float epsilon = {1e-5}, int64[1] last = {-1}, float[4] weight = {1, -2, 0.5, 3}>
    {
        square = Pow (x, two)
        mean = ReduceMean <keepdims = 1> (square, last)
        sum = Add (mean, epsilon)
        root = Sqrt (sum)
        inverse = Reciprocal (root)
        normed = Mul (x, inverse)
        y = Mul (weight, normed)
    }
"""
FORMS = {
    "plain": NORM,
    "product": NORM.replace("Pow (x, two)", "Mul (x, x)"),
    "other order": NORM.replace("Mul (weight, normed)", "Mul (normed, weight)").replace("(x, inverse)", "(inverse, x)"),
    "epsilon first": NORM.replace("Add (mean, epsilon)", "Add (epsilon, mean)"),
}


def joined(text: str, *, scaled: bool) -> ir.Model:
    graph = model(text)
    if scaled:
        assert ScaleSquares()(graph).modified
    assert JoinNorms()(graph).modified
    RemoveDeadCode()(graph)
    assert Counter(node.op_type for node in graph.graph) == {OPERATOR: 1}
    assert not JoinNorms()(graph).modified
    return graph


@pytest.mark.parametrize("scaled", [False, True], ids=["as exported", "scaled"])
@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_the_numbers_stay(text: str, scaled: bool) -> None:
    graph = joined(text, scaled=scaled)
    assert [value.name for value in graph.graph.outputs] == ["y"]

    @given(arrays.arrays(np.float32, (3, 4), elements=st.floats(-3000, 3000, width=32)))
    def same(states: np.ndarray) -> None:
        inputs = {"x": states}
        np.testing.assert_allclose(compute(graph, inputs)[0], compute(model(text), inputs)[0], rtol=2e-6, atol=1e-6)

    same()


def test_a_vector_of_zeros_stays_one() -> None:
    assert not compute(joined(NORM, scaled=True), {"x": np.zeros((2, 4), np.float32)})[0].any()


@pytest.mark.parametrize(
    "change",
    [
        ("keepdims = 1", "keepdims = 0"),
        ("int64[1] last = {-1}", "int64[1] last = {0}"),
        ("two = {2}", "two = {3}"),
        ("Sqrt (sum)", "Exp (sum)"),
        ("Reciprocal (root)", "Neg (root)"),
        ("Mul (x, inverse)", "Mul (square, inverse)"),
        ("epsilon = {1e-5}", "epsilon = {-1e-5}"),
        ("float[4] weight = {1, -2, 0.5, 3}", "float[1] weight = {2}"),
        ("(float[n, 4] y)", "(float[n, 4] y, float[n, 1] inverse)"),
        ("y = Mul (weight, normed)", "y = Add (weight, normed)"),
    ],
)
def test_what_is_another_formula_stays(change: tuple[str, str]) -> None:
    assert change[0] in NORM
    assert not JoinNorms()(model(NORM.replace(*change))).modified


@pytest.mark.parametrize(
    "change",
    [("Abs", "Neg"), ("ReduceMax", "ReduceMin"), ("Max", "Min")],
    ids=["no size", "the smallest entry", "no larger than"],
)
def test_a_vector_that_was_divided_otherwise_stays(change: tuple[str, str]) -> None:
    graph = model(NORM)
    ScaleSquares()(graph)
    [node] = [node for node in graph.graph if node.op_type == change[0]]
    node.op_type = change[1]
    assert not JoinNorms()(graph).modified
