import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from QEfficient.errors import NumericsError
from QEfficient.onnx_transforms import read, weights
from QEfficient.onnx_transforms.clamp_to_fp16 import ClampToFp16
from tests.passes.graphs import becomes, model, text


def test_what_stands_for_infinity_is_clamped() -> None:
    assert becomes(
        ClampToFp16,
        """
        g (bool[n] m, float[n] x) => (float[n] y) <float lowest = {-3.4e38}, float[3] bias = {0, -inf, inf}>
        {
            far = Constant <value = float {-1e9}> ()
            also = Constant <value_float = -1e30> ()
            more = Constant <value_floats = [1.0, 1e30]> ()
            a = Where (m, x, lowest)
            b = Add (a, far)
            c = Add (b, also)
            d = ReduceSum (more)
            e = ReduceSum (bias)
            f = Add (c, d)
            y = Add (f, e)
        }
        """,
        """
        g (bool[n] m, float[n] x) => (float[n] y) <float lowest = {-30000}, float[3] bias = {0, -30000, 65504}>
        {
            far = Constant <value = float {-30000}> ()
            also = Constant <value_float = -30000.0> ()
            more = Constant <value_floats = [1.0, 65504.0]> ()
            a = Where (m, x, lowest)
            b = Add (a, far)
            c = Add (b, also)
            d = ReduceSum (more)
            e = ReduceSum (bias)
            f = Add (c, d)
            y = Add (f, e)
        }
        """,
    )


def test_numbers_within_the_range_and_epsilons_stay() -> None:
    same = """
        g (float[n, 2] x) => (float[n, 2] y) <float[2] w = {65504, -65504}, int64[1] i = {100000}>
        {
            a = LayerNormalization <epsilon = 1e-12> (x, w)
            b = Cast <to = 1> (i)
            y = Add (a, b)
        }
    """
    assert becomes(ClampToFp16, same, same)


def test_a_lone_negative_number_is_a_mask_and_a_weight_is_not() -> None:
    graph = model("g (float[n] x) => (float[n] y) <float m = {-100000}> { y = Add (x, m) }")
    assert ClampToFp16()(graph).modified
    assert "-30000" in text(graph)


@pytest.mark.parametrize("number", ["70000", "1, -70000", "160000"])
def test_a_number_that_the_model_computes_with_is_kept_and_named(number: str) -> None:
    """Clamped, the fp32 result would be wrong without a word."""
    count = number.count(",") + 1
    source = f"g (float[n] x) => (float[n] y) <float[{count}] scale = {{{number}}}> {{ y = Mul (x, scale) }}"
    graph = model(source)
    with pytest.warns(UserWarning, match="'scale'"):
        assert not ClampToFp16()(graph).modified
    assert text(graph) == text(model(source))


def test_beside_a_fill_a_large_weight_is_kept() -> None:
    graph = model("g (float[3] x) => (float[3] y) <float[3] w = {70000, -inf, 2}> { y = Mul (x, w) }")
    with pytest.warns(UserWarning, match="1 constant"):
        assert ClampToFp16()(graph).modified
    assert graph.graph.initializers["w"].const_value.numpy().tolist() == [70000, -30000, 2]


@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float64, 65504), (np.float16, 65504), (ml_dtypes.bfloat16, 65280), (np.float32, 65504)]
)
def test_every_float_type_ends_up_where_fp16_can_hold_it(dtype: type, limit: float) -> None:
    graph = model("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Relu (x) }")
    graph.graph.initializers["w"].const_value = ir.Tensor(np.array([-np.inf, np.inf], dtype))
    assert ClampToFp16()(graph).modified
    clamped = graph.graph.initializers["w"].const_value.numpy()
    assert clamped.dtype == dtype and clamped.tolist() == [float(dtype(-30000)), limit]
    assert np.isfinite(clamped.astype(np.float16)).all()


def test_two_masks_and_a_score_stay_in_range() -> None:
    """A causal mask and a padding mask are added up where a row is padding: it must not become -Inf, then NaN."""
    graph = model(
        "g (float[n] x) => (float[n] y) <float a = {-inf}, float b = {-3.4e38}> { s = Add (x, a) y = Add (s, b) }"
    )
    ClampToFp16()(graph)
    a, b = (graph.graph.initializers[name].const_value.numpy().astype(np.float16) for name in "ab")
    assert np.isfinite(np.float16(-5000) + a + b)


def test_functions_and_subgraphs_are_visited() -> None:
    graph = model(
        """
        <ir_version: 10, opset_import: ["": 18, "local": 1]>
        g (bool c, float[2] x) => (float[2] y)
        {
            h = local.add (x)
            y = If (c) <
                then_branch = yes () => (float[2] r) <float[1] v = {-inf}> { r = Add (h, v) },
                else_branch = no () => (float[2] s) { s = Relu (h) }
            >
        }
        <domain: "local", opset_import: ["": 18]>
        add (x) => (y) { low = Constant <value = float {-inf}> ()  y = Max (x, low) }
        """
    )
    assert ClampToFp16()(graph).modified
    assert text(graph).count("-30000") == 2 and "inf" not in text(graph)


def nan_graph(values: np.ndarray) -> ir.Model:
    graph = model("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Mul (x, w) }")
    graph.graph.initializers["w"].const_value = ir.Tensor(values)
    node = next(iter(graph.graph))
    node.metadata_props[weights.NAME_SCOPES] = "['', 'encoder', 'encoder.layer.0.output', 'mul_1']"
    return graph


def test_nan_names_the_tensor_and_its_module() -> None:
    with pytest.raises(NumericsError) as caught:
        ClampToFp16()(nan_graph(np.array([np.nan, 1], np.float32)))
    assert "'w'" in str(caught.value) and "encoder.layer.0.output" in str(caught.value)


def test_nan_beyond_the_first_block_of_a_file_is_found(tmp_path) -> None:
    values = np.zeros(weights.BLOCK_BYTES // 4 + 7, np.float32)
    values[-1] = np.nan
    graph = nan_graph(values)
    graph.graph.initializers["w"].shape = ir.Shape(values.shape)
    ir.save(graph, tmp_path / "m.onnx", external_data="m.data")
    with pytest.raises(NumericsError):
        ClampToFp16()(read(tmp_path / "m.onnx"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.int8])
@pytest.mark.parametrize("block_bytes", [8, 24, 1000])
def test_blocks_give_the_values_of_a_file_in_order(tmp_path, dtype: type, block_bytes: int) -> None:
    values = (np.arange(101) % 50).astype(dtype).reshape(1, 101)
    (before,) = ir.external_data.convert_tensors_to_external([ir.Tensor(values, name="w")], tmp_path, "w.data")
    for tensor in (before, ir.Tensor(values)):
        read_back = np.concatenate([block.copy() for block in weights.blocks(tensor, block_bytes)])
        assert read_back.dtype == dtype and np.array_equal(read_back, values.reshape(-1))
        assert max(block.nbytes for block in weights.blocks(tensor, block_bytes)) <= block_bytes
