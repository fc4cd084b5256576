from QEfficient.onnx_transforms import fold_constants
from QEfficient.onnx_transforms.fold_constants import FoldConstants
from tests.passes.graphs import becomes, model, text


def test_what_depends_on_constants_only_is_computed_once() -> None:
    assert becomes(
        FoldConstants,
        """
        g (float[n, 2] x) => (float[n, 2] y) <float[2] w = {1, 2}>
        {
            two = Constant <value = float {2}> ()
            doubled = Mul (w, two)
            y = Add (x, doubled)
        }
        """,
        """
        g (float[n, 2] x) => (float[n, 2] y) <float[2] doubled = {2, 4}>
        {
            two = Constant <value = float {2}> ()
            y = Add (x, doubled)
        }
        """,
    )


def test_a_reshape_to_the_same_shape_goes() -> None:
    graph = model("g (float[3, 2] x) => (float[3, 2] y) <int64[2] s = {3, 2}> { a = Reshape (x, s)  y = Relu (a) }")
    assert FoldConstants()(graph).modified
    assert "Reshape" not in text(graph)


def test_a_result_beyond_the_limit_is_never_computed() -> None:
    """The second would need 4 TB."""
    small = "g (float[n] x) => (float[n] y) <int64[1] s = {4}, float[1] w = {1}> { a = Expand (w, s)  y = Add (x, a) }"
    huge = small.replace("{4}", "{1000000000000}")
    graph = model(small)
    assert FoldConstants()(graph).modified and "Expand" not in text(graph)
    graph = model(huge)
    assert not FoldConstants()(graph).modified and "Expand" in text(graph)


def test_the_limit_counts_elements(monkeypatch) -> None:
    source = "g (float[n] x) => (float[n] y) <float[4] w = {1, 2, 3, 4}> { a = Neg (w)  y = Add (x, a) }"
    for limit in (3, 4):
        monkeypatch.setattr(fold_constants, "LIMIT", limit)
        assert FoldConstants()(model(source)).modified == (limit == 4)


def test_a_large_transpose_is_left_to_the_exporter(monkeypatch) -> None:
    """onnxscript's own rules fold it whatever its size."""
    source = """
        g (float[n, 3] x) => (float[n, 2] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}>
        { t = Transpose <perm = [1, 0]> (w)  y = MatMul (x, t) }
    """
    graph = model(source)
    monkeypatch.setattr(fold_constants, "LIMIT", 5)
    assert not FoldConstants()(graph).modified and "Transpose" in text(graph)


def test_functions_and_subgraphs_are_visited() -> None:
    graph = model(
        """
        <ir_version: 10, opset_import: ["": 18, "local": 1]>
        g (bool c, float[2] x) => (float[2] y)
        {
            h = local.add <a = 1.0> (x)
            y = If (c) <
                then_branch = yes () => (float[2] r) <float[1] v = {3}> { w = Neg (v)  r = Add (h, w) },
                else_branch = no () => (float[2] s) { s = Relu (h) }
            >
        }
        <domain: "local", opset_import: ["": 18]>
        add <a> (x) => (y)
        {
            one = Constant <value = float {1}> ()
            two = Add (one, one)
            given = Constant <value_float: float = @a> ()
            z = Add (x, given)
            y = Add (z, two)
        }
        """
    )
    assert FoldConstants()(graph).modified
    assert "Neg" not in text(graph) and "two = Add" not in text(graph)
    assert "value_float: float = @a" in text(graph)  # known only where the function is called
