"""fp16 risk as a part of the analysis."""

from pathlib import Path

import numpy as np

from QEfficient.analysis.risk import fp16_risk
from QEfficient.numerics.verify import Sample
from tests.analysis.graphs import write

TEXT = """agraph (float[batch_size, 4] x) => (float[batch_size, 4] y)
{
    big = MatMul(x, w)
    y = Softmax(big)
}"""


def test_a_node_that_overflows_is_found_by_its_module(tmp_path: Path) -> None:
    weights = {"w": np.full((4, 4), 30_000, np.float32)}
    model = write(tmp_path, TEXT, weights, {"big": "encoder.layer.0.up"})
    samples = [Sample({"x": np.ones((2, 4), np.float32)}, ("a", "b"))]
    risk = fp16_risk(model, samples)
    (found,) = [one for one in risk.ranges if one.node == "big"]
    assert (found.op, found.module, found.largest) == ("MatMul", "encoder.layer.0.up", 120_000.0)
    assert list(risk.findings) == ["big"]
    assert risk.rows == 2 and 0 < risk.limit < 65504
    assert {one.node for one in risk.ranges} == {"big", "y"}  # weights are no activation


def test_a_graph_that_fits_has_no_findings(tmp_path: Path) -> None:
    model = write(tmp_path, TEXT, {"w": np.ones((4, 4), np.float32)})
    assert not fp16_risk(model, [Sample({"x": np.ones((2, 4), np.float32)}, ("a", "b"))]).findings
