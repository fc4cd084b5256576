"""Weights pass through the emulation piece by piece: what a process needs is the session's own copy of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

WIDTH, MATRICES = 2048, 12
WEIGHTS = WIDTH * WIDTH * 4 * MATRICES / 1e6  # MB

CHILD = """
import json, sys
import numpy as np
from benchmarks.memory import memory
from QEfficient.numerics.emulate import Precision, open_emulated
from QEfficient.onnx_transforms import describe
from QEfficient.records import Shape

model = describe(__import__("pathlib").Path(sys.argv[1]))
before = memory("VmHWM")
with open_emulated(model, Precision(weights=sys.argv[2] or None), buckets=[Shape(1, 8)]) as session:
    session.run({"x0": np.ones((8, model.inputs[0].shape[1]), np.float32)})
print(json.dumps([before, memory("VmHWM")]))
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of matrix products, 200 MB of weights. No two are alike: onnxruntime keeps equal ones once."""
    folder, noise = tmp_path_factory.mktemp("big"), np.random.default_rng(0)
    nodes, weights = [], []
    with open(folder / "data", "wb") as file:
        for index in range(MATRICES):
            tensor = onnx.TensorProto(name=f"w{index}", data_type=1, dims=[WIDTH, WIDTH], data_location=1)
            for key, value in {"location": "data", "offset": file.tell(), "length": 4 * WIDTH**2}.items():
                tensor.external_data.add(key=key, value=str(value))
            file.write((noise.random(WIDTH**2, np.float32) / WIDTH).tobytes())
            weights.append(tensor)
            nodes.append(onnx.helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"x{index + 1}"]))
    ends = [onnx.helper.make_tensor_value_info(f"x{i}", 1, ["batch_size", WIDTH]) for i in (0, MATRICES)]
    made = onnx.helper.make_graph(nodes, "big", ends[:1], ends[1:], weights)
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save_model(onnx.helper.make_model(made, opset_imports=opset, ir_version=10), folder / "graph.onnx")
    return folder / "graph.onnx"


@pytest.mark.parametrize("blocks", ["", "mxfp6"])
def test_weights_are_held_once(graph: Path, tmp_path: Path, blocks: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "QEFF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(graph), blocks], env=environment, capture_output=True, text=True, check=True
    )
    before, peak = json.loads(done.stdout)
    assert WEIGHTS > 200
    assert peak - before > 0.9 * WEIGHTS  # the measure sees the weights
    assert peak - before < 1.4 * WEIGHTS, (before, peak)
    assert not list((tmp_path / "home" / "tmp").iterdir())  # and the rounded graph is gone again
