import math
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from QEfficient.onnx_transforms import external_files, read, store_weights
from QEfficient.onnx_transforms.store_weights import StoreWeights
from tests.passes.graphs import compute, model

BEFORE = """
    g (float[n, 4] x) => (float[n, 4] y) <float[4] small = {1, 2, 3, 4}, float[2, 4] large = {1, 2, 3, 4, 5, 6, 7, 8}>
    {
        c = Constant <value = float[2, 4] {8, 7, 6, 5, 4, 3, 2, 1}> ()
        a = Add (x, small)
        b = Mul (large, c)
        s = ReduceSum <keepdims = 0> (b)
        y = Add (a, s)
    }
"""
X = {"x": np.ones((3, 4), np.float32)}


@pytest.fixture(autouse=True)
def small_weights_go_out(monkeypatch) -> None:
    monkeypatch.setattr(store_weights, "THRESHOLD", 16)


def store(folder: Path, graph: ir.Model) -> Path:
    folder.mkdir(exist_ok=True)
    StoreWeights(folder)(graph)
    onnx.save_model(ir.to_proto(graph), folder / "model.onnx")
    return folder / "model.onnx"


def test_large_weights_go_out_small_ones_stay_and_constants_follow(tmp_path) -> None:
    """Before: two weights and a Constant node in the graph. After: their place in the data file."""
    path = store(tmp_path, model(BEFORE))
    proto = onnx.load_model(path, load_external_data=False)
    assert [node.op_type for node in proto.graph.node] == ["Add", "Mul", "ReduceSum", "Add"]
    places = {one.name: {entry.key: entry.value for entry in one.external_data} for one in proto.graph.initializer}
    assert places == {
        "small": {},
        "large": {"location": "model.onnx.data", "offset": "0", "length": "32"},
        "c": {"location": "model.onnx.data", "offset": "32", "length": "32"},
    }
    assert np.array_equal(compute(path, X)[0], compute(model(BEFORE), X)[0])


def test_a_stored_graph_is_not_modified_again(tmp_path) -> None:
    graph = model(BEFORE)
    assert StoreWeights(tmp_path)(graph).modified
    assert not StoreWeights(tmp_path)(graph).modified


def test_a_limit_splits_the_data_and_keeps_the_numbers(tmp_path, monkeypatch) -> None:
    for limit in (1, 32, 63, 64):
        monkeypatch.setattr(store_weights, "FILE_LIMIT", limit)
        path = store(tmp_path / str(limit), model(BEFORE))
        files = external_files(path)
        assert len(files) == (1 if limit == 64 else 2)
        assert math.fsum(file.stat().st_size for file in files) == 64
        assert np.array_equal(compute(path, X)[0], compute(model(BEFORE), X)[0])


def test_equal_graphs_give_equal_bytes(tmp_path) -> None:
    one, two = (store(tmp_path / name, model(BEFORE)) for name in ("one", "two"))
    for file in ("model.onnx", "model.onnx.data"):
        assert (one.parent / file).read_bytes() == (two.parent / file).read_bytes()


def test_data_files_can_be_read_by_those_who_can_read_the_graph(tmp_path) -> None:
    path = store(tmp_path, model(BEFORE))
    assert external_files(path)[0].stat().st_mode == path.stat().st_mode


def test_a_tensor_in_another_nodes_attribute_comes_back_into_the_graph(tmp_path) -> None:
    """Also of a Constant in a function, which can't become an initializer."""
    source = model(
        """
        <ir_version: 10, opset_import: ["": 18, "local": 1]>
        g (float[n, 4] x) => (float[n, 4] y) { y = local.f (x) }
        <domain: "local", opset_import: ["": 18]>
        f (x) => (y) { c = Constant <value = float[4] {1, 2, 3, 4}> ()  y = Add (x, c) }
        """
    )
    proto = ir.to_proto(source)
    tensor = proto.functions[0].node[0].attribute[0].t
    (tmp_path / "c.data").write_bytes(np.arange(1, 5, dtype=np.float32).tobytes())
    tensor.ClearField("float_data")
    tensor.external_data.add(key="location", value="c.data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    onnx.save_model(proto, tmp_path / "m.onnx")
    path = store(tmp_path / "out", read(tmp_path / "m.onnx"))
    assert external_files(path) == ()
    assert np.array_equal(compute(path, X)[0], compute(source, X)[0])
