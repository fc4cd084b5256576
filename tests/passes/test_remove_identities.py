import onnx_ir as ir

from QEfficient.onnx_transforms.remove_identities import RemoveIdentities
from tests.passes.graphs import becomes, model, text


def test_identity_dropout_cast_and_transpose_that_do_nothing_go() -> None:
    assert becomes(
        RemoveIdentities,
        """
        g (float[n, 2] x) => (float[n, 2] y) <float[n, 2] c>
        {
            a = Identity (x)
            b = Dropout (a)
            c = Relu (b)
            d = Cast <to = 1> (c)
            e = Transpose <perm = [0, 1]> (d)
            y = Neg (e)
        }
        """,
        """
        g (float[n, 2] x) => (float[n, 2] y)
        {
            c = Relu (x)
            y = Neg (c)
        }
        """,
    )


def test_an_output_keeps_its_name_and_shape() -> None:
    assert becomes(
        RemoveIdentities,
        "g (float[n] x) => (float[n] y) { a = Relu (x) y = Identity (a) }",
        "g (float[n] x) => (float[n] y) { y = Relu (x) }",
    )


def stays(text_: str) -> bool:
    return becomes(RemoveIdentities, text_, text_)


def test_an_output_that_needs_a_value_of_its_own_stays() -> None:
    assert stays("g (float[n] x) => (float[n] y) { y = Identity (x) }")
    assert stays("g (float[n] x) => (float[n] y, float[n] z) { y = Relu (x) z = Identity (y) }")
    assert stays("g (float[n] x) => (float[1] y) <float[1] w = {1}> { y = Identity (w) }")


def test_the_result_of_a_branch_stays() -> None:
    assert stays(
        """
        g (bool c, float[2] x) => (float[2] y)
        {
            h = Relu (x)
            y = If (c) <
                then_branch = yes () => (float[2] r) { r = Identity (h) },
                else_branch = no () => (float[2] s) { s = Neg (h) }
            >
        }
        """
    )


def test_what_changes_the_value_stays() -> None:
    assert stays("g (float[n, 2] x) => (float16[n, 2] y) { y = Cast <to = 10> (x) }")
    assert stays("g (float[2, 2] x) => (float[2, 2] y) { a = Transpose <perm = [1, 0]> (x) y = Relu (a) }")
    assert stays("g (float[2] x, bool t) => (float[2] y) { r, m = Dropout (x, , t) y = Relu (r) }")
    assert stays("g (float[2] x) => (float[2] y, bool[2] m) { r, m = Dropout (x) y = Relu (r) }")


def test_functions_and_subgraphs_are_visited() -> None:
    before = """
        <ir_version: 10, opset_import: ["": 18, "local": 1]>
        g (bool c, float[2] x) => (float[2] y)
        {
            h = local.twice (x)
            y = If (c) <
                then_branch = yes () => (float[2] r) { a = Identity (h)  r = Relu (a) },
                else_branch = no () => (float[2] s) { s = Neg (h) }
            >
        }
        <domain: "local", opset_import: ["": 18]>
        twice (x) => (y) { a = Identity (x)  b = Dropout (a)  y = Add (b, b) }
    """
    graph = model(before)
    assert RemoveIdentities()(graph).modified
    assert "Identity" not in text(graph) and "Dropout" not in text(graph)
    assert "y = Add (x, x)" in text(graph) and "r = Relu (h)" in text(graph)


def test_onnx_ir_has_not_mended_the_two_cases_that_made_us_write_our_own() -> None:
    """When this fails, onnx_ir's pass can take over the Identity nodes."""
    graph = model("g (float[n] x) => (float[n] y, float[n] z) { y = Relu (x) z = Identity (y) }")
    ir.passes.common.IdentityEliminationPass()(graph)
    assert [value.name for value in graph.graph.outputs] == ["z", "z"]
