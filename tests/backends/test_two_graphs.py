"""A task with two graphs and more dims than batch and length goes the whole road: export, cache, program, run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from QEfficient import program as programs
from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.backends.qaic import QaicBackend
from QEfficient.backends.qaic.inference_session import QAICInferenceSession
from QEfficient.backends.qaic.sdk import Sdk
from QEfficient.build.saved import rehost
from QEfficient.cache import Cache
from QEfficient.errors import CorruptArtefactError, InputError, LoadError, OptionError, UsageError
from QEfficient.records import OnnxModel, Program, Shape, Target
from tests import two_graphs
from tests.sdk import make_sdk
from tests.two_graphs import SHAPES

TOLERANCE = {"onnxruntime": 1e-5, "openvino": 1e-5, "emulator": 1e-2, "qaic": 1e-2}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxModel]:
    """Both, exported once."""
    cache, exported = Cache(tmp_path_factory.mktemp("home")), list[str]()
    found = two_graphs.graphs(cache, exported)
    assert exported == ["encoder", "decoder"]
    assert two_graphs.graphs(cache, exported) == found and len(exported) == 2  # each was found in the cache
    return found


@pytest.fixture(params=["onnxruntime", "openvino", "emulator", "qaic-new", "qaic-old"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    name, _, generation = request.param.partition("-")
    if not generation:
        return registry.get(name)
    sdk = make_sdk(tmp_path / "sdk", generation=generation, compute="emulate")
    monkeypatch.setenv("QEFF_QAIC_SDK", str(sdk.root))
    return QaicBackend(sdk=Sdk(sdk.root))


@pytest.fixture
def program(backend: Backend, graphs: dict[str, OnnxModel]) -> Program:
    return two_graphs.compiled(backend, graphs, Cache())


def check(backend: Backend, program: Program, *, strict: bool = False) -> None:
    """Both graphs, open at once, give torch's numbers for every shape."""
    with backend.open(program.only("encoder"), strict=strict) as one, backend.open(program.only("decoder")) as two:
        for name, session in (("encoder", one), ("decoder", two)):
            assert session.shapes == SHAPES[name] == program.manifest.graphs[name].shapes
            for shape in session.shapes:
                arrays = two_graphs.feed(name, shape)
                found = session.run(arrays)
                for spec, wanted in zip(session.outputs, two_graphs.expected(name, arrays), strict=True):
                    np.testing.assert_allclose(found[spec.name], wanted, atol=TOLERANCE[backend.name])


def test_the_whole_road(backend: Backend, program: Program, tmp_path: Path) -> None:
    check(backend, program, strict=True)
    saved = programs.save(program, tmp_path / "saved")
    moved = saved.path.rename(tmp_path / "moved")
    shutil.rmtree(program.path)
    loaded = programs.load(moved, check=True)
    assert loaded.manifest == program.manifest
    check(backend, loaded)


def test_dims_have_their_names(program: Program) -> None:
    encoder, decoder = (program.manifest.graphs[name] for name in ("encoder", "decoder"))
    assert encoder.outputs == decoder.inputs[1:2] == (two_graphs.STATES,)  # a length that the encoder computes
    assert [spec.shape for spec in decoder.outputs] == [("batch_size", "seq_len", 50), ("batch_size", "ctx_len", 8)]


def test_the_key_and_the_seal_hold_every_graph(
    backend: Backend, program: Program, graphs: dict[str, OnnxModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(program.manifest.graphs) == list(program.manifest.key["graphs"]) == ["encoder", "decoder"]
    for name, graph in program.manifest.graphs.items():
        assert {graph.onnx, f"{name}/model.onnx.data"} <= set(program.manifest.files)
    assert two_graphs.compiled(backend, graphs, Cache()) == program  # from the cache
    monkeypatch.setitem(SHAPES, "decoder", (Shape(1, 1, {"ctx_len": 64, "source_len": 4}),))
    assert two_graphs.compiled(backend, graphs, Cache()).path != program.path
    weights = program.path / "decoder" / "model.onnx.data"
    weights.unlink()
    weights.write_bytes(b"\0" * program.manifest.files["decoder/model.onnx.data"].size)
    with pytest.raises(CorruptArtefactError, match="decoder/model.onnx.data"):
        programs.load(program.path, check=True)


def test_a_graph_has_to_be_named(backend: Backend, program: Program) -> None:
    with pytest.raises(UsageError, match=r"(?s)several graphs.*encoder, decoder.*program.only\('encoder'\)"):
        backend.open(program)
    with pytest.raises(UsageError, match=r"(?s)no graph 'decodr'.*'decoder'"):
        program.only("decodr")


def test_a_graph_without_shapes_is_refused(backend: Backend, graphs: dict[str, OnnxModel], tmp_path: Path) -> None:
    target, options = Target(backend.name, backend.compute[0], cores=4), backend.parse_options({})
    with pytest.raises(OptionError, match="no shapes to compile the graph 'decoder' for"):
        backend.compile(graphs, {"encoder": SHAPES["encoder"]}, target, options, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("sdk", "qeff_home")]  # nothing was begun


def test_files_are_linked_between_stages(graphs: dict[str, OnnxModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(graphs["encoder"].path.parents[2]))  # files of one cache are linked
    program = two_graphs.compiled(registry.get("onnxruntime"), graphs, Cache())
    for name, graph in graphs.items():
        for file, digest in graph.files.items():
            assert (program.path / name / file).samefile(graph.path.parent / file)
            assert program.manifest.files[f"{name}/{file}"].sha256 == digest
    again = programs.graphs_of(program)
    assert {name: graph.files for name, graph in again.items()} == {name: graph.files for name, graph in graphs.items()}


def test_a_host_takes_each_dim_up_to_its_largest(graphs: dict[str, OnnxModel]) -> None:
    other, host = registry.get("openvino"), registry.get("onnxruntime")
    program = rehost(two_graphs.compiled(other, graphs, Cache()), host, Cache())
    with host.open(program.only("decoder")) as session:
        between = Shape(3, 2, {"ctx_len": 31, "source_len": 2})
        arrays = two_graphs.feed("decoder", between)
        found = session.run(arrays)
        for spec, wanted in zip(session.outputs, two_graphs.expected("decoder", arrays), strict=True):
            np.testing.assert_allclose(found[spec.name], wanted, atol=1e-5)
        with pytest.raises(InputError, match=r"(?s)33.*1 to 4 tokens, ctx_len up to 32, source_len up to 4"):
            session.run(two_graphs.feed("decoder", Shape(3, 2, {"ctx_len": 33, "source_len": 2})))


@pytest.mark.parametrize("backend", ["qaic-new", "qaic-old"], indirect=True)
def test_the_card_has_a_qpc_for_each_graph(backend: Backend, program: Program) -> None:
    for name, graph in program.manifest.graphs.items():
        assert graph.binary == f"{name}/qpc" and (program.path / graph.binary / "programqpc.bin").is_file()
    text = json.loads((program.path / "decoder" / "specializations.json").read_text())
    entries = [entry.get("symbols", entry) for entry in text["specializations"]]
    wanted = [(3, 1, 16, 4), (3, 1, 32, 4), (1, 4, 16, 4)]
    assert [tuple(map(int, entry.values())) for entry in entries] == wanted  # all of a graph's shapes in one QPC
    assert list(entries[0]) == ["batch_size", "seq_len", "ctx_len", "source_len"]
    session = QAICInferenceSession(str(program.path / "decoder" / "qpc"))
    arrays = two_graphs.feed("decoder", SHAPES["decoder"][1])
    logits = session.run(arrays)["logits"]
    np.testing.assert_allclose(logits, two_graphs.expected("decoder", arrays)[0], atol=1e-2)
    session.deactivate()
    with pytest.raises(LoadError, match="the folder of a program with one graph"):
        QAICInferenceSession(str(program.path))
