"""Root-mean-square norms whose squares would leave fp16."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from QEfficient.onnx_transforms.scale_squares import ScaleSquares
from tests.passes.graphs import becomes, compute, model
from tests.sdk.parts.emulate import emulate

NORM = """
    g (float[n, 4] x) => (float[n, 4] y) <float two = {2}, float epsilon = {1e-6}, int64[1] last = {-1}>
    {
        square = Pow (x, two)
        mean = ReduceMean <keepdims = 1> (square, last)
        sum = Add (mean, epsilon)
        root = Sqrt (sum)
        inverse = Reciprocal (root)
        y = Mul (x, inverse)
    }
"""


def test_the_vector_is_divided_by_its_greatest_entry_first() -> None:
    assert becomes(
        ScaleSquares,
        NORM,
        """
        g (float[n, 4] x) => (float[n, 4] y) <float two = {2}, float epsilon = {1e-6}, int64[1] last = {-1}>
        {
            square_size = Abs (x)
            square_greatest = ReduceMax <keepdims = 1> (square_size, last)
            square_least = Constant <value = float {6.2e-05}> ()
            square_divisor = Max (square_greatest, square_least)
            square_scaled = Div (x, square_divisor)
            square_root_epsilon = Constant <value = float {0.001}> ()
            square_share = Div (square_root_epsilon, square_divisor)
            square_epsilon = Mul (square_share, square_share)
            square = Pow (square_scaled, two)
            mean = ReduceMean <keepdims = 1> (square, last)
            sum = Add (mean, square_epsilon)
            root = Sqrt (sum)
            inverse = Reciprocal (root)
            y = Mul (square_scaled, inverse)
        }
        """,
    )


@pytest.mark.parametrize("scale", [0.0, 1e-4, 0.01, 1.0, 300.0, 20000.0])
@pytest.mark.parametrize("square", ["Pow (x, two)", "Mul (x, x)"])
def test_the_numbers_stay_in_fp32_and_are_right_in_fp16(scale: float, square: str, tmp_path: Path) -> None:
    states = np.array([[1, -2, 3, 0.5], [0.25, 0, 0, 1], [3, 3, -3, 3]], np.float32) * scale
    source = NORM.replace("Pow (x, two)", square)
    [wanted] = compute(model(source), {"x": states})
    scaled = model(source)
    assert ScaleSquares()(scaled).modified
    [found] = compute(scaled, {"x": states})
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    [half] = as_on_the_card(scaled, tmp_path, states)
    tolerance = 2e-3 if scale >= 0.01 else 2e-2  # below, the numbers themselves are subnormal in fp16
    np.testing.assert_allclose(half, wanted, rtol=tolerance, atol=1e-4)


def test_without_the_pass_large_states_become_zeros(tmp_path: Path) -> None:
    states = np.full((1, 4), 300, np.float32)
    [half] = as_on_the_card(model(NORM), tmp_path, states)
    assert not half.any()


def as_on_the_card(graph: ir.Model, folder: Path, states: np.ndarray) -> list[np.ndarray]:
    onnx.save_model(ir.to_proto(graph), folder / "full.onnx")
    emulate(folder / "full.onnx", folder / "half.onnx", fp16=True)
    return compute(folder / "half.onnx", {"x": states})


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("square = Pow (x, two)", "square = Pow (x, epsilon)"),
        ("y = Mul (x, inverse)", "y = Mul (mean, inverse)"),
        ("y = Mul (x, inverse)", "z = Mul (x, inverse) y = Add (z, sum)"),
        ("sum = Add (mean, epsilon)", "sum = Sub (mean, epsilon)"),
    ],
)
def test_what_is_not_such_a_norm_stays(line: str, other: str) -> None:
    same = NORM.replace(line, other)
    assert becomes(ScaleSquares, same, same)
