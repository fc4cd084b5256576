from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from tests.passes.graphs import becomes


def test_nodes_and_weights_that_no_output_needs_go() -> None:
    assert becomes(
        RemoveDeadCode,
        """
        g (float[n] x, float[n] unused) => (float[n] y) <float[1] w = {1}, float[1] dead = {2}>
        {
            a = Add (x, dead)
            b = Relu (a)
            y = Add (x, w)
        }
        """,
        "g (float[n] x, float[n] unused) => (float[n] y) <float[1] w = {1}> { y = Add (x, w) }",
    )


def test_functions_that_nobody_calls_go_with_their_opset() -> None:
    assert becomes(
        RemoveDeadCode,
        """
        <ir_version: 10, opset_import: ["": 18, "live": 1, "dead": 1]>
        g (float[n] x) => (float[n] y) { a = dead.f (x)  y = live.f (x) }
        <domain: "live", opset_import: ["": 18]>
        f (x) => (y) { unused = Neg (x)  y = Relu (x) }
        <domain: "dead", opset_import: ["": 18]>
        f (x) => (y) { y = Neg (x) }
        """,
        """
        <ir_version: 10, opset_import: ["": 18, "live": 1]>
        g (float[n] x) => (float[n] y) { y = live.f (x) }
        <domain: "live", opset_import: ["": 18]>
        f (x) => (y) { y = Relu (x) }
        """,
    )


def test_subgraphs_are_visited() -> None:
    assert becomes(
        RemoveDeadCode,
        """
        g (bool c, float[2] x) => (float[2] y)
        {
            y = If (c) <
                then_branch = yes () => (float[2] r) <float[1] dead = {1}> { a = Add (x, dead)  r = Relu (x) },
                else_branch = no () => (float[2] s) { s = Neg (x) }
            >
        }
        """,
        """
        g (bool c, float[2] x) => (float[2] y)
        {
            y = If (c) <
                then_branch = yes () => (float[2] r) { r = Relu (x) },
                else_branch = no () => (float[2] s) { s = Neg (x) }
            >
        }
        """,
    )


def test_an_optional_output_that_nobody_reads_counts_as_modified() -> None:
    assert becomes(
        RemoveDeadCode,
        "g (float[2] x) => (float[2] y) { y, mask = Dropout (x) }",
        "g (float[2] x) => (float[2] y) { y = Dropout (x) }",
    )


def test_a_live_graph_stays() -> None:
    live = "g (float[n] x) => (float[n] y) <float[1] w = {1}> { y = Add (x, w) }"
    assert becomes(RemoveDeadCode, live, live)
