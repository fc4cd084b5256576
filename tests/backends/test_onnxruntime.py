"""The host backend: the common suite, and what is the host's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from QEfficient import settings
from QEfficient.backends import onnxruntime_session
from QEfficient.backends.base import Backend
from QEfficient.backends.host import usable_cpus
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.errors import CompileError, CorruptArtefactError, DeviceError, InputError, OptionError
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Shape, Target, TensorSpec, Tuning
from tests import tiny_graphs
from tests.backends.conformance import BackendConformance

BACKEND = OnnxRuntimeBackend()
HOST = Target("onnxruntime")


class TestOnnxRuntime(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return OnnxRuntimeBackend()

    @pytest.fixture
    def absent(self, monkeypatch: pytest.MonkeyPatch) -> Backend:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # an import of it raises ImportError
        return OnnxRuntimeBackend()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "program").mkdir()
    model = tiny_graphs.make(tmp_path / "graph")
    return BACKEND.compile({MODEL: model}, {MODEL: [Shape(16)]}, HOST, CompileOptions(), tmp_path / "program")


def move_external_data(program: Program, location: str) -> None:
    """Lets the graph look for its weights at ``location``."""
    graph = onnx.load(program.onnx_path, load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    onnx.save(graph, program.onnx_path)


def test_free_shapes_by_default(program: Program) -> None:
    with BACKEND.open(program) as session:
        assert not session.fixed_shapes
        assert session.report()["threads"] == usable_cpus()


@pytest.mark.parametrize("tuning", [None, Tuning(1, 2, 64), Tuning(2, 1, 64), Tuning(3, 2, 64)])
def test_no_tuning_changes_the_numbers(program: Program, tuning: Tuning | None) -> None:
    feeds = [tiny_graphs.feed(*lengths, seed=n) for n, lengths in enumerate([(1,), (16, 3), (5,) * 40])]
    with BACKEND.open(program) as session:
        session.tune(Tuning(1, 1, 64))
        expected = [session.run(feed)["output"] for feed in feeds]
    with BACKEND.open(program) as session:
        if tuning is not None:
            session.tune(tuning)
        futures = [session.submit(feed) for feed in feeds * 3]  # before a run, beside it and after it
        results = [session.run(feed) for feed in feeds] + [future.result() for future in futures]
        assert all(np.allclose(r["output"], e, atol=1e-6) for r, e in zip(results, expected * 4, strict=True))


def test_the_weights_are_held_once_where_once_is_enough(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    load = onnxruntime_session.load
    monkeypatch.setattr(
        onnxruntime_session,
        "load",
        lambda path, threads, compute: opened.append(threads) or load(path, threads=threads, compute=compute),
    )
    cpus, feed = usable_cpus(), tiny_graphs.feed(3)
    with BACKEND.open(program) as session:
        session.tune(Tuning(1, cpus, 64))
        session.submit(feed).result()
        session.run(feed)
        assert opened == [cpus]
    opened.clear()
    with BACKEND.open(program) as session:
        session.tune(Tuning(2, 1, 64))
        session.submit(feed).result()
        assert opened == [cpus, 1] and session._wide is None
        session.run(feed)
        assert opened == [cpus, 1, cpus]


def test_weights_of_the_cache_are_linked_not_copied(tmp_path: Path) -> None:
    model = tiny_graphs.make(settings.home() / "graph")
    (tmp_path / "work").mkdir()
    program = BACKEND.compile({MODEL: model}, {MODEL: [Shape(16)]}, HOST, CompileOptions(), tmp_path / "work")
    assert (program.path / tiny_graphs.EXTERNAL).samefile(model.path.parent / tiny_graphs.EXTERNAL)


def test_external_data_in_a_folder_below(program: Program, tmp_path: Path) -> None:
    move_external_data(program, "weights/all.bin")
    (program.path / "weights").mkdir()
    (program.path / tiny_graphs.EXTERNAL).rename(program.path / "weights/all.bin")
    model = OnnxModel(program.onnx_path, program.manifest.inputs, program.manifest.outputs, digest="")
    (tmp_path / "again").mkdir()
    again = BACKEND.compile({MODEL: model}, {MODEL: [Shape(16)]}, HOST, CompileOptions(), tmp_path / "again")
    with BACKEND.open(again) as session:
        assert session.run(tiny_graphs.feed(3))["output"].shape == (1, tiny_graphs.DIM)


def test_devices_are_refused(program: Program) -> None:
    with pytest.raises(OptionError, match="device_ids"):
        BACKEND.open(program, [0])


@pytest.mark.parametrize(
    ("target", "buckets"), [(replace(HOST, compute="fp16"), [Shape(16)]), (HOST, [])], ids=["compute", "buckets"]
)
def test_what_the_host_can_not_compile(target: Target, buckets: list[Shape], tmp_path: Path) -> None:
    model = tiny_graphs.make(tmp_path / "graph")
    (tmp_path / "work").mkdir()
    with pytest.raises(OptionError):
        BACKEND.compile({MODEL: model}, {MODEL: buckets}, target, CompileOptions(), tmp_path / "work")


def test_a_graph_that_onnxruntime_refuses(tmp_path: Path) -> None:
    graph = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (int64[n] x) => (int64[n] y) { y = NoSuchOperator(x) }'
    )
    onnx.save(graph, tmp_path / "model.onnx")
    spec = TensorSpec("x", "int64", ("n",))
    model = OnnxModel(tmp_path / "model.onnx", (spec,), (replace(spec, name="y"),), digest="")
    (tmp_path / "work").mkdir()
    with pytest.raises(CompileError, match="NoSuchOperator"):
        BACKEND.compile({MODEL: model}, {MODEL: [Shape(8)]}, HOST, CompileOptions(), tmp_path / "work")


@pytest.mark.parametrize("form", ["climb", "hidden climb", "absolute", "link"])
def test_external_data_outside_the_folder_is_never_used(program: Program, tmp_path: Path, form: str) -> None:
    outside = tmp_path / "outside.data"
    shutil.copy(program.path / tiny_graphs.EXTERNAL, outside)  # good weights: only their place is wrong
    (program.path / "below").mkdir()
    places = {"climb": "../outside.data", "hidden climb": "below/../../outside.data", "absolute": str(outside)}
    if form == "link":
        (program.path / "link.data").symlink_to(outside)
    move_external_data(program, places.get(form, "link.data"))
    with pytest.raises(CorruptArtefactError, match="External data path|Absolute path"):
        BACKEND.open(program)


@pytest.mark.parametrize("name", ["model.onnx", tiny_graphs.EXTERNAL])
@pytest.mark.parametrize("size", [None, 0, 300])
def test_a_damaged_file(program: Program, name: str, size: int | None) -> None:
    data = (program.path / name).read_bytes()
    (program.path / name).unlink()
    if size is not None:
        (program.path / name).write_bytes(data[:size])
    with pytest.raises(CorruptArtefactError, match=r"model\.onnx"):
        BACKEND.open(program)


def test_a_manifest_of_another_graph(program: Program) -> None:
    graph = replace(program.manifest.graph, outputs=(TensorSpec("logits", "float32", ("batch_size", 2)),))
    other = replace(program.manifest, graphs={MODEL: graph})
    with pytest.raises(CorruptArtefactError, match="logits"):
        BACKEND.open(Program(program.path, other))


def test_an_id_outside_of_the_vocabulary(program: Program) -> None:
    arrays = tiny_graphs.feed(3)
    arrays["input_ids"][0, 1] = tiny_graphs.VOCABULARY
    with BACKEND.open(program) as session:
        with pytest.raises(InputError, match=str(tiny_graphs.VOCABULARY)):
            session.run(arrays)
        assert np.isfinite(session.run(tiny_graphs.feed(3))["output"]).all()


def test_a_run_that_fails_inside(program: Program) -> None:
    longer = replace(program.manifest.graph, shapes=(Shape(2 * tiny_graphs.POSITIONS),))  # more than it has positions
    too_long = replace(program.manifest, graphs={MODEL: longer})
    with BACKEND.open(Program(program.path, too_long)) as session:
        with pytest.raises(DeviceError) as caught:
            session.run(tiny_graphs.feed(tiny_graphs.POSITIONS + 1))
        assert caught.value.status and caught.value.do


def test_nothing_is_printed_by_a_failure(program: Program, capfd: pytest.CaptureFixture[str]) -> None:
    arrays = tiny_graphs.feed(3)
    arrays["input_ids"][0, 1] = tiny_graphs.VOCABULARY
    with BACKEND.open(program) as session, pytest.raises(InputError):
        session.run(arrays)
    assert capfd.readouterr() == ("", "")


def test_only_onnxruntime_and_numpy_are_imported_to_run(program: Program) -> None:
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "onnx", "onnx_ir", "huggingface_hub", "tokenizers"):
            raise AssertionError("imported " + name)
sys.meta_path.insert(0, Block())
from pathlib import Path
from QEfficient.backends import registry
from QEfficient.records import *
from QEfficient.runtime.rows import from_arrays
from QEfficient.runtime.run import How, run_rows
ids = TensorSpec("input_ids", "int64", ("batch_size", "seq_len"))
mask = TensorSpec("attention_mask", "int64", ("batch_size", "seq_len"))
out = TensorSpec("output", "float32", ("batch_size", {tiny_graphs.DIM}))
manifest = Manifest(Target("onnxruntime"), {{MODEL: GraphFacts((Shape(16),), (ids, mask), (out,), "model.onnx")}})
backend = registry.get("onnxruntime")
with backend.open(Program(Path({str(program.path)!r}), manifest)) as session:
    rows = from_arrays({{"input_ids": [[1, 2, 3]]}}, session.inputs, max_length=None, buckets=session.shapes)
    print(run_rows(session, rows, How())["output"].shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == (f"(1, {tiny_graphs.DIM})\n", "")


def test_a_hub_snapshot_is_links_into_one_folder(program: Program, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--x/blobs", tmp_path / "models--x/snapshots/abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, name in enumerate(("model.onnx", tiny_graphs.EXTERNAL)):
        shutil.copy(program.path / name, blobs / str(number))
        (snapshot / name).symlink_to(os.path.relpath(blobs / str(number), snapshot))
    with BACKEND.open(Program(snapshot, program.manifest)) as session:
        assert session.run(tiny_graphs.feed(3))["output"].shape == (1, tiny_graphs.DIM)


def test_close_waits_for_a_run_of_another_thread(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = threading.Event(), threading.Event()

    def slow(*arguments: object) -> dict[str, np.ndarray]:
        began.set()
        time.sleep(0.1)
        ended.set()
        return {}

    session = BACKEND.open(program)
    monkeypatch.setattr(session, "_call", slow)
    thread = threading.Thread(target=session.run, args=(tiny_graphs.feed(3),))
    thread.start()
    assert began.wait(timeout=60)
    session.close()
    assert ended.is_set()
    thread.join()


def test_sessions_do_not_pile_up(program: Program) -> None:
    session = BACKEND.open(program)
    gone = weakref.ref(session)
    session.close()
    del session
    assert gone() is None


def test_sums_of_int8_products_are_not_cut_off(tmp_path: Path) -> None:
    """An x86 CPU without VNNI adds two of them in 16 bits, unless told otherwise."""
    graph = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (uint8[n, 64] x) => (int32[n, 16] y) { y = MatMulInteger (x, w) }'
    )
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.full((64, 16), 127, np.int8), "w"))
    onnx.save(graph, tmp_path / "model.onnx")
    session = onnxruntime_session.load(tmp_path / "model.onnx", threads=1)
    [found] = session.run(None, {"x": np.full((5, 64), 255, np.uint8)})
    assert np.array_equal(found, np.full((5, 16), 64 * 255 * 127, np.int32))
