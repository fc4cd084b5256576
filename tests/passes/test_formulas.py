"""What a value is computed by, in words."""

from __future__ import annotations

import pytest

from QEfficient.onnx_transforms.formulas import LONGEST, formula
from tests.passes.graphs import model

GRAPH = """
    g (int64[rows, n] x, float[rows, 2, ctx_len] past) => (int64[k] y)
    <int64 one = {1}, float half = {0.5}, int64[2] pair = {3, -4}, int64[5] many = {1, 2, 3, 4, 5}>
    { BODY }
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("y = Add (x, one)", "Add(x,1)"),
        ("y = Cast <to = 7> (half)", "Cast<to=7>(0.5)"),
        ("y = Add (pair, many)", "Add([3,-4],<many>)"),
        ("y = ReduceMax <keepdims = 1> (x, pair)", "ReduceMax(x,[3,-4])"),
        ("y = ReduceMax <keepdims = 0> (x, pair)", "ReduceMax<keepdims=0>(x,[3,-4])"),
        ("y = Shape <start = 2, end = 3> (past)", "#ctx_len"),
        ("s = Shape <start = 2> (past) y = Squeeze (s)", "#ctx_len"),
        ("y = Shape <start = 1, end = 2> (past)", "#2"),
        ("y = Shape (x)", "Shape(x)"),
        ("c = Constant <value = int64 {2}> () y = Sub (x, c)", "Sub(x,2)"),
        ("a, y = Split <num_outputs = 2> (x)", "Split<num_outputs=2>(x).1"),
        ("a = Neg (x) y = Mul (a, a)", "Mul(Neg(x),Neg(x))"),
        ("y = Clip (x, , one)", "Clip(x,,1)"),
    ],
)
def test_words(body: str, words: str) -> None:
    graph = model(GRAPH.replace("BODY", body))
    assert formula(graph.graph.outputs[0]) == words


def test_of_what_is_far_from_the_inputs_there_are_none() -> None:
    doubled = " ".join(f"v{step + 1} = Add (v{step}, v{step})" for step in range(40))
    graph = model(GRAPH.replace("BODY", f"v0 = Neg (x) {doubled} y = Neg (v40)"))
    values = {value.name: value for node in graph.graph for value in node.outputs}
    assert formula(values["v2"]) == "Add(Add(Neg(x),Neg(x)),Add(Neg(x),Neg(x)))"
    assert len(formula(graph.graph.outputs[0])) <= LONGEST and "…" in formula(graph.graph.outputs[0])
    assert formula(None) == ""
