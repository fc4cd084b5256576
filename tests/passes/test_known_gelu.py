from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from QEfficient.onnx_transforms import run
from QEfficient.onnx_transforms.known_gelu import KnownGelu
from tests.passes.graphs import becomes, compute, model

CONSTANTS = "<float half = {0.5}, float one = {1.0}, float root = {1.4142135}>"
EXPORTED = f"""
g (float[n, 8] x) => (float[n, 8] y) {CONSTANTS}
{{
    a = Div (x, root)
    e = Erf (a)
    p = Add (e, one)
    h = Mul (half, p)
    y = Mul (x, h)
}}
"""
KNOWN = EXPORTED.replace("Mul (half, p)", "Mul (half, x)").replace("Mul (x, h)", "Mul (h, p)")


@pytest.mark.parametrize("swapped", [("half, p", "p, half"), ("x, h", "h, x"), ("e, one", "one, e")])
def test_the_order_of_factors_does_not_matter(swapped: tuple[str, str]) -> None:
    before = EXPORTED.replace(*swapped)
    graph = model(before)
    assert KnownGelu()(graph).modified
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32) * 4
    assert compute(graph, {"x": x})[0].tobytes() == compute(model(before), {"x": x})[0].tobytes()


def test_the_known_form() -> None:
    assert becomes(KnownGelu, EXPORTED, KNOWN)


@pytest.mark.parametrize(
    "other",
    [
        EXPORTED.replace("half = {0.5}", "half = {0.25}"),
        EXPORTED.replace("Mul (x, h)", "Mul (a, h)"),
        EXPORTED.replace("Erf", "Tanh"),
        EXPORTED.replace("(float[n, 8] y)", "(float[n, 8] y, float[n, 8] h)"),
    ],
    ids=["quarter", "another x", "tanh", "the half is a result"],
)
def test_what_is_no_gelu_stays(other: str) -> None:
    assert becomes(KnownGelu, other, other)


def test_onnxruntime_fuses_it(tmp_path: Path) -> None:
    counts = []
    for name, made in (("exported", False), ("known", True)):
        graph = model(EXPORTED)
        if made:
            run(graph, [KnownGelu()])
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(
            ir.to_proto(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        counts.append([node.op_type for node in onnx.load(tmp_path / f"{name}.onnx").graph.node].count("Gelu"))
    assert counts == [0, 1]
