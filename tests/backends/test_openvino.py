"""OpenVINO: the common suite, and what is its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from QEfficient.backends import openvino_graph as graphs
from QEfficient.backends.base import Backend
from QEfficient.backends.openvino import OpenVinoBackend
from QEfficient.errors import (
    BackendUnavailableError,
    CompileError,
    CorruptArtefactError,
    DeviceError,
    InputError,
    OptionError,
)
from QEfficient.onnx_transforms import describe
from QEfficient.pytorch_transforms.token_pooling import Pooling
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Shape, Target, TensorSpec, Tuning
from tests import tiny_graphs
from tests.backends.conformance import BackendConformance
from tests.exported import export

BACKEND = OpenVinoBackend()
HOST, BF16 = Target("openvino"), Target("openvino", "bf16")


class TestOpenVino(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return OpenVinoBackend()

    @pytest.fixture
    def absent(self, monkeypatch: pytest.MonkeyPatch) -> Backend:
        monkeypatch.setitem(sys.modules, "openvino", None)  # an import of it raises ImportError
        return OpenVinoBackend()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "program").mkdir()
    model = tiny_graphs.make(tmp_path / "graph")
    return BACKEND.compile({MODEL: model}, {MODEL: [Shape(16)]}, HOST, CompileOptions(), tmp_path / "program")


@pytest.fixture
def halved(tmp_path: Path) -> Program:
    (tmp_path / "halved").mkdir()
    model = tiny_graphs.make(tmp_path / "graph")
    return BACKEND.compile({MODEL: model}, {MODEL: [Shape(16)]}, BF16, CompileOptions(), tmp_path / "halved")


def move_external_data(program: Program, location: str) -> None:
    """Lets the graph look for its weights at ``location``."""
    graph = onnx.load(program.onnx_path, load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    onnx.save(graph, program.onnx_path)


@pytest.mark.parametrize("form", ["climb", "hidden climb", "absolute", "link"])
def test_external_data_outside_the_folder_is_never_used(program: Program, tmp_path: Path, form: str) -> None:
    outside = tmp_path / "outside.data"
    shutil.copy(program.path / tiny_graphs.EXTERNAL, outside)  # good weights: only their place is wrong
    (program.path / "below").mkdir()
    places = {"climb": "../outside.data", "hidden climb": "below/../../outside.data", "absolute": str(outside)}
    if form == "link":
        (program.path / "link.data").symlink_to(outside)
    move_external_data(program, places.get(form, "link.data"))
    with pytest.raises(CorruptArtefactError, match="outside the base directory|a link that leaves the folder"):
        BACKEND.open(program)


@pytest.mark.parametrize("name", ["model.onnx", tiny_graphs.EXTERNAL])
@pytest.mark.parametrize("size", [None, 0, 300])
def test_a_damaged_file(program: Program, name: str, size: int | None, capfd: pytest.CaptureFixture[str]) -> None:
    data = (program.path / name).read_bytes()
    (program.path / name).unlink()
    if size is not None:
        (program.path / name).write_bytes(data[:size])
    with pytest.raises(CorruptArtefactError, match=r"model\.onnx"):
        BACKEND.open(program)
    assert capfd.readouterr() == ("", "")


def test_a_hub_snapshot_is_links_into_one_folder(program: Program, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--x/blobs", tmp_path / "models--x/snapshots/abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, name in enumerate(("model.onnx", tiny_graphs.EXTERNAL)):
        shutil.copy(program.path / name, blobs / str(number))
        (snapshot / name).symlink_to(os.path.relpath(blobs / str(number), snapshot))
    with BACKEND.open(Program(snapshot, program.manifest)) as session:
        assert session.run(tiny_graphs.feed(3))["output"].shape == (1, tiny_graphs.DIM)


def test_a_graph_that_openvino_refuses(tmp_path: Path) -> None:
    graph = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (int64[n] x) => (int64[n] y) { y = NoSuchOperator(x) }'
    )
    onnx.save(graph, tmp_path / "model.onnx")
    spec = TensorSpec("x", "int64", ("n",))
    model = OnnxModel(tmp_path / "model.onnx", (spec,), (replace(spec, name="y"),), digest="")
    (tmp_path / "work").mkdir()
    with pytest.raises(CompileError, match="NoSuchOperator"):
        BACKEND.compile({MODEL: model}, {MODEL: [Shape(8)]}, HOST, CompileOptions(), tmp_path / "work")


def test_a_manifest_of_another_graph(program: Program) -> None:
    graph = replace(program.manifest.graph, outputs=(TensorSpec("logits", "float32", ("batch_size", 2)),))
    other = replace(program.manifest, graphs={MODEL: graph})
    with pytest.raises(CorruptArtefactError, match="logits"):
        BACKEND.open(Program(program.path, other))


def test_devices_are_refused(program: Program) -> None:
    with pytest.raises(OptionError, match="device_ids"):
        BACKEND.open(program, [0])


@pytest.mark.parametrize("wrong", [tiny_graphs.VOCABULARY, -1 - tiny_graphs.VOCABULARY])
def test_an_id_outside_of_the_vocabulary(
    program: Program, wrong: int, capfd: pytest.CaptureFixture[str]
) -> None:  # OpenVINO itself answers with numbers
    arrays = tiny_graphs.feed(3)
    arrays["input_ids"][0, 1] = wrong
    with BACKEND.open(program) as session:
        with pytest.raises(InputError, match=str(wrong)):
            session.run(arrays)
        assert np.isfinite(session.run(tiny_graphs.feed(3))["output"]).all()
    assert capfd.readouterr() == ("", "")


def test_buckets_past_the_graphs_positions(program: Program, tmp_path: Path) -> None:
    long = (Shape(tiny_graphs.POSITIONS + 1),)  # a run of it would read past the table, and may well end the process
    graphs = {MODEL: replace(program.manifest.graph, shapes=long)}
    with pytest.raises(CorruptArtefactError, match="does not take a row of 65"):
        BACKEND.open(Program(program.path, replace(program.manifest, graphs=graphs)))
    with pytest.raises(CompileError, match="shapes are inconsistent"):
        BACKEND.compile({MODEL: tiny_graphs.make(tmp_path / "again")}, {MODEL: long}, HOST, CompileOptions(), tmp_path)


def test_a_run_that_fails_inside(program: Program) -> None:
    class Failing:
        def set_input_tensor(self, place: int, tensor: object) -> None:
            pass

        def infer(self, *arguments: object, **options: object) -> None:
            raise RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223")

    arrays = tiny_graphs.feed(3)
    with BACKEND.open(program) as session:
        handle = session._handle(wide=True)
        handle.free.append(Failing())
        with pytest.raises(DeviceError) as caught:
            session.run(arrays)
        assert "infer_request.cpp:223" in str(caught.value.status) and caught.value.do
        handle.free.clear()
        assert np.isfinite(session.run(arrays)["output"]).all()


def test_streams_are_as_many_as_the_tuning_says(program: Program) -> None:
    with BACKEND.open(program) as session:
        session.tune(Tuning(streams=2, threads=1, batch_tokens=64))
        session.submit(tiny_graphs.feed(3)).result(timeout=60)
        assert int(session._handle(wide=False).model.get_property("NUM_STREAMS")) == 2


needs_bf16 = pytest.mark.skipif(graphs.missing("bf16") is not None, reason="this CPU has no bf16")


@needs_bf16
def test_bf16_is_bf16_in_products_and_fp32_in_sums(halved: Program) -> None:
    with BACKEND.open(halved) as session:
        ops = session._handle(wide=True).model.get_runtime_model().get_ordered_ops()
        facts = [{key: op.get_rt_info()[key].astype(str) for key in ("layerType", "runtimePrecision")} for op in ops]
        kinds = {(fact["layerType"], fact["runtimePrecision"]) for fact in facts}
        assert ("FullyConnected", "bf16") in kinds and ("MVN", "f32") in kinds
        assert {("FullyConnected", "f32"), ("MVN", "bf16")}.isdisjoint(kinds)


@needs_bf16
def test_bf16_is_near_fp32_and_not_equal_to_it(halved: Program, program: Program) -> None:
    arrays = tiny_graphs.feed(8, 3, 5)
    with BACKEND.open(halved) as rounded, BACKEND.open(program) as exact:
        near, want = rounded.run(arrays)["output"], exact.run(arrays)["output"]
    assert near.dtype == np.float32
    assert 1e-5 < np.abs(near - want).max() < 0.02 * np.abs(want).max()


def test_bf16_on_a_cpu_without_it(halved: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def get_property(self, device: str, name: str) -> object:
            return ["FP32", "INT8"] if name == "OPTIMIZATION_CAPABILITIES" else "an old CPU"

    monkeypatch.setattr(graphs, "_core", Old)
    for call in (lambda: BACKEND.check(BF16, CompileOptions()), lambda: BACKEND.open(halved)):
        with pytest.raises(BackendUnavailableError, match="an old CPU: FP32, INT8"):
            call()
    BACKEND.check(HOST, CompileOptions())


def test_a_version_that_can_not_keep_operators_in_fp32(halved: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "missing", lambda compute: None)  # whatever this CPU has
    monkeypatch.setattr(graphs, "_MARKED", graphs._MARKED.replace(graphs._MARK, "SomethingElse"))
    with pytest.raises(BackendUnavailableError, match="can't keep single operators in fp32"):
        BACKEND.open(halved)


def test_what_an_import_does(program: Program) -> None:
    """Nothing is sent, printed, or imported beyond openvino and numpy; openvino itself is whole."""
    code = f"""
import socket, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "onnx", "onnx_ir", "onnxruntime", "openvino_telemetry"):
            raise AssertionError("imported " + name)
sys.meta_path.insert(0, Block())
def refuse(*arguments):
    raise AssertionError("a connection")
socket.socket.connect = refuse
from pathlib import Path
import numpy as np
from QEfficient.backends import registry
from QEfficient.records import *
ids = TensorSpec("input_ids", "int64", ("batch_size", "seq_len"))
mask = TensorSpec("attention_mask", "int64", ("batch_size", "seq_len"))
out = TensorSpec("output", "float32", ("batch_size", {tiny_graphs.DIM}))
manifest = Manifest(Target("openvino"), {{MODEL: GraphFacts((Shape(16),), (ids, mask), (out,), "model.onnx")}})
with registry.get("openvino").open(Program(Path({str(program.path)!r}), manifest)) as session:
    row = np.array([[1, 2, 3]])
    print(session.run({{"input_ids": row, "attention_mask": np.ones_like(row)}})["output"].shape)
import openvino
print(callable(openvino.convert_model), "openvino_telemetry" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == (f"(1, {tiny_graphs.DIM})\nTrue False\n", "")


POOLINGS = ("mean", "weighted_mean", "mean_sqrt_len", "cls", "last_token")


@pytest.fixture(scope="module")
def poolings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that pools, in all these ways side by side, and does nothing else."""
    length = ("batch_size", "seq_len")
    specs = (TensorSpec("states", "float32", (*length, 8)), TensorSpec("attention_mask", "int64", length))
    return export(Pooling(POOLINGS), inputs=specs, folder=tmp_path_factory.mktemp("poolings")).path


def long_rows() -> dict[str, np.ndarray]:
    """Three rows of states, of 5, 300 and 511 tokens."""
    return {
        "states": np.random.default_rng(0).normal(size=(3, 511, 8)).astype(np.float32),
        "attention_mask": (np.arange(511) < np.array([[5], [300], [511]])).astype(np.int64),
    }


@needs_bf16
def test_what_pools_is_exact_in_bf16(poolings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without marks it is not: weights and sums are rounded by up to 0.2 % each."""
    exact = graphs.compiled(graphs.read(poolings), "fp32", streams=1, threads=1)(long_rows())[0]
    half = graphs.compiled(graphs.read(poolings), "bf16", streams=1, threads=1)(long_rows())[0]
    monkeypatch.setattr(graphs, "_is_pooling", lambda node: False)
    unmarked = graphs.compiled(graphs.read(poolings), "bf16", streams=1, threads=1)(long_rows())[0]
    assert np.abs(half - exact).max() <= 1e-6 * np.abs(exact).max()
    assert np.abs(unmarked - exact).max() > 1e-4 * np.abs(exact).max()


def test_what_pools_keeps_its_mark(poolings: Path) -> None:
    """OpenVINO rewrites a graph before it compiles it; a mark that a new node has not is no mark.

    What a CPU without bf16 can show: after these passes no float of the weights is without mark, nor a sum.
    """
    from openvino._offline_transformations import apply_moc_transformations

    plain, model = graphs.read(poolings), graphs.read(poolings)
    graphs.keep_in_fp32(model)
    rewritten = model.clone()
    apply_moc_transformations(rewritten, False)
    sums = [node for node in rewritten.get_ops() if graphs._is_pooling(node)]
    assert len(sums) == len(POOLINGS)
    for each in sums:
        weights = [node for node in graphs._weights_of(each) if node.get_type_name() not in ("Unsqueeze", "Reshape")]
        assert weights and not any(node.get_type_name() == "Divide" for node in weights)
        for node in (each, *weights):
            assert f"{graphs._MARK}_0" in node.get_rt_info(), node.get_friendly_name()

    new, old = (graphs.compiled(each, "fp32", streams=1, threads=1)(long_rows())[0] for each in (model, plain))
    assert np.abs(new - old).max() <= 1e-6 * np.abs(old).max()


def test_a_graph_with_functions_of_its_own(tmp_path: Path) -> None:
    """OpenVINO reads none, so a second graph without stands beside it; both are files of the program."""
    graph = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 18, "own" : 1]>
        g (float[batch_size, 2] x) => (float[batch_size, 2] y) { y = own.Twice (x) }
        <opset_import: ["" : 18], domain: "own"> Twice (a) => (b) { b = Add (a, a) }"""
    )
    onnx.save(graph, tmp_path / "model.onnx")
    (tmp_path / "work").mkdir()
    model = describe(tmp_path / "model.onnx")
    program = BACKEND.compile({MODEL: model}, {MODEL: [Shape(batch=2)]}, HOST, CompileOptions(), tmp_path / "work")
    assert (program.onnx_path.name, program.joined_path.name) == ("model.onnx", "model.openvino.onnx")
    with BACKEND.open(program) as session:
        assert session.run({"x": np.ones((2, 2), np.float32)})["y"].tolist() == [[2, 2], [2, 2]]
