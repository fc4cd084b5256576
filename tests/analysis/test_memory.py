"""Activations that live together, and weights at each precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from QEfficient.analysis.costs import bucket_costs
from QEfficient.analysis.memory import Weight, weight_bytes, weights_of
from QEfficient.onnx_transforms import read
from tests.analysis.graphs import BUCKET, random, write
from tests.passes.graphs import model

X = "float[batch_size, seq_len, 6] x"
ONE = 2 * 8 * 6  # elements of x


def peak(folder: Path, text: str, weights: dict[str, np.ndarray] | None = None) -> tuple[int, int, str]:
    found = bucket_costs(write(folder, text, weights), BUCKET).peak
    return found.fp32, found.fp16, found.node


def test_a_chain_holds_two_tensors_at_a_time(tmp_path: Path) -> None:
    text = f"g ({X}) => (float[?] y) {{ a = Tanh (x)\n b = Tanh (a)\n y = Tanh (b) }}"
    assert peak(tmp_path, text)[:2] == (2 * ONE * 4, 2 * ONE * 2)


def test_a_residual_lives_until_it_is_added(tmp_path: Path) -> None:
    text = f"g ({X}) => (float[?] y) {{ a = Tanh (x)\n b = Tanh (a)\n y = Add (b, x) }}"
    assert peak(tmp_path, text) == (3 * ONE * 4, 3 * ONE * 2, "b")


def test_another_shape_takes_no_memory_and_keeps_its_source_alive(tmp_path: Path) -> None:
    text = f"""g ({X}) => (float[?] y) {{
        axis = Constant <value_ints = [0]> ()
        wide = Unsqueeze (x, axis)
        a = Tanh (x)
        b = Tanh (a)
        y = Add (b, wide)
    }}"""
    assert peak(tmp_path, text)[0] == 3 * ONE * 4


def test_weights_are_no_activations_and_integers_stay_as_wide(tmp_path: Path) -> None:
    text = "g (int64[batch_size, seq_len] ids) => (float[?] y) { y = Gather (table, ids) }"
    ids, words = 2 * 8 * 8, 2 * 8 * 6
    assert peak(tmp_path, text, {"table": random(1000, 6)})[:2] == (ids + words * 4, ids + words * 2)


def test_the_peak_is_named_with_its_module(tmp_path: Path) -> None:
    text = f"g ({X}) => (float[?] y) {{ a = MatMul (x, up)\n b = Tanh (a)\n y = MatMul (b, down) }}"
    model = write(tmp_path, text, {"up": random(6, 24), "down": random(24, 6)}, {"b": "layer.0.act"})
    found = bucket_costs(model, BUCKET).peak
    assert (found.fp32, found.node, found.module) == (2 * 4 * ONE * 4, "b", "layer.0.act")


# ------------------------------------------------------------------------------------------------ weights

READERS = """
g (float[n, 64] x, int64[n] ids, float[n, 3, 8, 8] image) => (float[?] y, float[?] z, float[?] c) {
    plain = MatMul (x, matrix)
    turned = Transpose (tied)
    logits = MatMul (x, turned)
    words = Gather (tied, ids)
    biased = Add (plain, bias)
    y = Identity (biased)
    z = Concat <axis = 1> (logits, words)
    c = Conv (image, kernel)
}
"""


def held(folder: Path) -> dict[str, Weight]:
    weights = {
        "matrix": random(64, 32),
        "tied": random(100, 64),
        "bias": random(32),
        "kernel": random(4, 3, 2, 2),
    }
    return {weight.name: weight for weight in weights_of(read(write(folder, READERS, weights).path))}


def test_who_reads_a_weight(tmp_path: Path) -> None:
    found = {name: (one.matmul, one.convolution, one.elsewhere) for name, one in held(tmp_path).items()}
    assert found == {
        "matrix": (True, False, False),
        "tied": (True, False, True),
        "bias": (False, False, True),
        "kernel": (False, True, False),
    }


def test_bytes_at_each_precision(tmp_path: Path) -> None:
    """MXFP6 is 6.25 bits a number; a matrix that something else reads too is needed in fp16 as well."""
    matrix, tied, bias, kernel = 64 * 32, 100 * 64, 32, 4 * 3 * 2 * 2
    found = weight_bytes(list(held(tmp_path).values()))
    assert found.fp32 == 4 * (matrix + tied + bias + kernel)
    assert found.fp16 == 2 * (matrix + tied + bias + kernel)
    assert found.mxfp6 == (matrix + tied) * 6.25 / 8 + 2 * (tied + bias + kernel)
    assert found.int8 == matrix + tied + kernel + 2 * (tied + bias)
    assert found.matmul_parameters == matrix + tied


def test_weights_inside_functions_and_constants_count_where_they_are_used() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 18, "ours": 1]>
    g (float[n, 4] x) => (float[n, 2] y) <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, int64[1] axis = {0}>
    { a = ours.layer (x, w)
      b = Unsqueeze (a, axis)
      y = Squeeze (b, axis) }
    <domain: "ours", opset_import: ["": 18]>
    layer (states, weight) => (result)
    { c = Constant <value = float[2] {1, 2}> ()
      p = MatMul (states, weight)
      result = Add (p, c) }
    """
    found = {one.name: one for one in weights_of(model(text))}
    assert found["w"].matmul and not found["w"].elsewhere
    assert found["c"].floating and not found["c"].matmul
    assert not found["axis"].floating
    assert weight_bytes(list(found.values())).fp16 == 2 * 8 + 2 * 2 + 8


@pytest.mark.parametrize(("elements", "size"), [(32, 25), (33, 27), (1, 2)])
def test_a_block_that_is_not_full_has_its_scale_too(elements: int, size: int) -> None:
    weight = Weight("w", "", ir.DataType.FLOAT, (elements, 1), matmul=True, convolution=False, elsewhere=False)
    assert weight_bytes([weight]).mxfp6 == size
