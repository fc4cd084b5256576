import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.onnx_transforms.constant_reshapes import ConstantReshapes
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from tests.passes.graphs import compute

SPLIT = """
<ir_version: 10, opset_import: ["": 18]>
g (float[b, s, 8] x, int64[b, s] ids) => (float[b, s, 2, 4] y) <int64[2] heads = {2, -1}>
{
    sizes = Shape (ids)
    told = Concat <axis = 0> (sizes, heads)
    y = Reshape <allowzero = 1> (x, told)
}
"""


def known(text: str) -> ir.Model:
    """The graph, with inner shapes as an export has them."""
    proto = onnx.parser.parse_model(text)
    onnx.checker.check_model(proto)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def told(graph: ir.Model) -> list[int] | None:
    """What the one Reshape is told, if it is a constant."""
    node = next(node for node in graph.graph if node.op_type == "Reshape")
    value = node.inputs[1]
    assert value is not None
    return value.const_value.numpy().tolist() if value.is_initializer() and value.const_value is not None else None


@given(batch=st.integers(0, 3), length=st.integers(0, 5))
def test_same_bits_whatever_the_batch_and_the_length(batch: int, length: int) -> None:
    graph = known(SPLIT)
    assert ConstantReshapes()(graph).modified
    assert told(graph) == [0, 0, 2, 4]
    x = np.random.default_rng(0).standard_normal((batch, length, 8)).astype(np.float32)
    inputs = {"x": x, "ids": np.zeros((batch, length), np.int64)}
    if x.size:  # with no number at all, -1 says nothing in the graph before
        np.testing.assert_array_equal(compute(graph, inputs)[0], compute(known(SPLIT), inputs)[0])
    else:
        assert compute(graph, inputs)[0].shape == (batch, length, 2, 4)


def test_what_computed_the_sizes_is_dead() -> None:
    graph = known(SPLIT)
    ConstantReshapes()(graph)
    RemoveDeadCode()(graph)
    assert [node.op_type for node in graph.graph] == ["Reshape"]
    onnx.checker.check_model(ir.to_proto(graph))


def test_equal_sizes_are_one_constant_and_its_name_is_free() -> None:
    graph = known("""
        <ir_version: 10, opset_import: ["": 18]>
        g (float[b, s, 8] x) => (float[b, s, 2, 4] y)
        <int64[2] heads = {2, -1}, float[b, s, 2, 4] z, float[b, s, 2, 4] w>
        {
            sizes = Shape <end = 2> (x)
            told = Concat <axis = 0> (sizes, heads)
            sizes_0_0_2_4 = Neg (x)
            z = Reshape (sizes_0_0_2_4, told)
            w = Reshape (x, told)
            y = Add (z, w)
        }
    """)
    assert ConstantReshapes()(graph).modified
    assert list(graph.graph.initializers) == ["heads", "sizes_0_0_2_4_1"]
    assert not ConstantReshapes()(graph).modified


def test_one_size_may_be_left_open_where_none_is_kept() -> None:
    flat = SPLIT.replace("y = Reshape <allowzero = 1> (x, told)", "y = Reshape (x, told)").replace(
        "float[b, s, 2, 4] y", "float[rows, 8] y"
    )
    flat = flat.replace("{2, -1}", "{-1, 8}").replace("told = Concat <axis = 0> (sizes, heads)", "told = Abs (heads)")
    graph = known(flat)
    ConstantReshapes()(graph)
    assert told(graph) == [-1, 8]


@pytest.mark.parametrize(
    "other",
    [
        SPLIT.replace("float[b, s, 8] x", "float[s, b, 8] x"),
        SPLIT.replace("float[b, s, 8] x", "float[b, q, 8] x"),
        SPLIT.replace("float[b, s, 8] x", "float[?, s, 8] x").replace("int64[b, s] ids", "int64[?, s] ids"),
        SPLIT.replace("float[b, s, 2, 4] y", "float[b, rows, 4] y")
        .replace("{2, -1}", "{-1, 4}")
        .replace("Shape (ids)", "Shape <end = 1> (ids)"),
        SPLIT.replace("18", "12").replace("<allowzero = 1>", ""),
    ],
    ids=["other places", "another name", "no name", "kept and open", "an old operator set"],
)
def test_what_is_not_sure_stays(other: str) -> None:
    graph = known(other)
    assert not ConstantReshapes()(graph).modified
    assert told(graph) is None
