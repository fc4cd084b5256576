import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.onnx_transforms.raise_guards import SMALLEST, RaiseGuards
from tests.passes.graphs import becomes, compute, model

NORMALIZE = """
    g (float[n, 3] x) => (float[n, 3] y) <float tiny = {1e-12}, int64[1] axis = {1}, int64[2] shape = {1, 3}>
    {
        norm = ReduceL2 (x, axis)
        safe = Clip (norm, tiny)
        wide = Expand (safe, shape)
        y = Div (x, wide)
    }
"""


def test_the_bound_of_a_divisor_is_raised() -> None:
    assert becomes(
        RaiseGuards,
        NORMALIZE,
        """
        g (float[n, 3] x) => (float[n, 3] y) <float tiny = {1e-12}, int64[1] axis = {1}, int64[2] shape = {1, 3}>
        {
            norm = ReduceL2 (x, axis)
            safe_bound = Constant <value: tensor = float {5.9604645e-08}> ()
            safe = Clip (norm, safe_bound)
            wide = Expand (safe, shape)
            y = Div (x, wide)
        }
        """,
    )


def test_a_maximum_bounds_as_well() -> None:
    graph = model("g (float[n] x) => (float[n] y) <float[1] e = {1e-9}> { a = Max (x, e)  y = Reciprocal (a) }")
    assert RaiseGuards()(graph).modified


@pytest.mark.parametrize(
    "body",
    [
        "a = Clip (x, e)  y = Log (a)",  # right down to 1e-12 in fp32
        "a = Clip (x, e)  y = Div (a, x)",  # the dividend
        "a = Clip (x, e)  b = Div (x, a)  y = Add (a, b)",  # has another use
        "y = Clip (x, e)",
        "a = Add (x, e)  b = Sqrt (a)  y = Div (x, b)",  # would change every result
        "a = Clip (x, big)  y = Div (x, a)",
        "a = Clip (x, zero)  y = Div (x, a)",
        "a = Clip (x, given)  y = Div (x, a)",  # not a constant
    ],
)
def test_anything_else_stays(body: str) -> None:
    same = f"""
        g (float[n] x, float given) => (float[n] y) <float e = {{1e-12}}, float big = {{1e-6}}, float zero = {{0}}>
        {{ {body} }}
    """
    assert becomes(RaiseGuards, same, same)


def test_functions_are_visited() -> None:
    graph = model(
        """
        <ir_version: 10, opset_import: ["": 18, "local": 1]>
        g (float[2] x) => (float[2] y) { y = local.safe (x) }
        <domain: "local", opset_import: ["": 18]>
        safe (x) => (y) { e = Constant <value = float {1e-12}> ()  a = Max (x, e)  y = Div (x, a) }
        """
    )
    assert RaiseGuards()(graph).modified
    assert compute(graph, {"x": np.array([0, 2], np.float32)})[0].tolist() == [0, 1]


@settings(deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3))
def test_every_vector_that_is_not_all_but_zero_gives_the_same_bits(row: list[float]) -> None:
    x = np.array([row], np.float32)
    before, after = model(NORMALIZE), model(NORMALIZE)
    assert RaiseGuards()(after).modified
    old, new = compute(before, {"x": x})[0], compute(after, {"x": x})[0]
    assert np.isfinite(new).all()
    if np.linalg.norm(x.astype(np.float64)) > SMALLEST:
        assert np.array_equal(old, new)
