import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import read
from QEfficient.onnx_transforms.share_weights import ShareWeights
from tests.passes.graphs import becomes, model, text


def test_equal_weights_are_stored_once() -> None:
    assert becomes(
        ShareWeights,
        """
        g (float[n, 2] x) => (float[n, 2] y) <float[2] a = {1, 2}, float[2] b = {1, 2}, float[2] c = {1, 3}>
        { p = Add (x, a)  q = Mul (p, b)  y = Sub (q, c) }
        """,
        """
        g (float[n, 2] x) => (float[n, 2] y) <float[2] a = {1, 2}, float[2] c = {1, 3}>
        { p = Add (x, a)  q = Mul (p, a)  y = Sub (q, c) }
        """,
    )


def test_equal_bytes_of_another_type_or_shape_are_not_equal() -> None:
    same = """
        g (float[2, 1] x) => (float[2, 2] y, int32[2] z)
        <float[2] a = {0, 0}, float[2, 1] b = {0, 0}, int32[2] c = {0, 0}>
        { p = Add (x, a)  y = Add (p, b)  z = Neg (c) }
    """
    assert becomes(ShareWeights, same, same)


def test_inputs_and_outputs_are_left_alone() -> None:
    same = """
        g (float[2] a, float[2] x) => (float[2] y, float[2] c)
        <float[2] a = {1, 2}, float[2] b = {1, 2}, float[2] c = {1, 2}>
        { p = Add (x, a)  y = Add (p, b) }
    """
    assert becomes(ShareWeights, same, same)


def test_weights_that_differ_in_their_last_byte_are_kept_apart(tmp_path) -> None:
    """Read from a file, in blocks; the first blocks are equal."""
    graph = model(
        "g (float[n, 2] x) => (float[n, 2] y) <float[2] a = {1, 2}, float[2] b = {1, 2}, float[2] c = {1, 2}>"
        "{ p = Add (x, a)  q = Mul (p, b)  y = Sub (q, c) }"
    )
    values = np.zeros(3_000_000, np.float32)
    for name, last in (("a", 1), ("b", 2), ("c", 1)):
        changed = values.copy()
        changed[-1] = last
        graph.graph.initializers[name].const_value = ir.Tensor(changed)
    ir.save(graph, tmp_path / "m.onnx", external_data="m.data")
    graph = read(tmp_path / "m.onnx")
    assert ShareWeights()(graph).modified
    assert list(graph.graph.initializers) == ["a", "b"]


def test_subgraphs_are_compared_on_their_own() -> None:
    graph = model(
        """
        g (bool c, float[2] x) => (float[2] y) <float[1] w = {3}>
        {
            h = Add (x, w)
            y = If (c) <
                then_branch = yes () => (float[2] r) <float[1] u = {3}, float[1] v = {3}>
                { a = Add (h, u)  r = Add (a, v) },
                else_branch = no () => (float[2] s) { s = Relu (h) }
            >
        }
        """
    )
    assert ShareWeights()(graph).modified
    assert "r = Add (a, u)" in text(graph) and "h = Add (x, w)" in text(graph)
