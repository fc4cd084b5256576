"""What the road costs in memory: about one copy of the weights, and none once the graph is on disk."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from benchmarks.memory import child, measure, measure_decoder, random_bert
from QEfficient import QEFFAutoModel

pytestmark = pytest.mark.own_exports


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The peak of the same road without weights to speak of: libraries."""
    steps = child(tmp_path_factory.mktemp("base"), "memory", layers=1, hidden=64)
    return float(max(step["peak"] for step in steps))


@pytest.mark.slow
def test_the_whole_road_holds_the_weights_once(base: float) -> None:
    for source, found in measure(layers=3, hidden=1024).items():
        weights = found["weights"]
        assert weights > 250  # a second copy is far past what the bounds leave
        assert found["peak"] <= base + 1.3 * weights, (source, base, found)
        assert found["reload"] <= base + 1.3 * weights, (source, base, found)
        assert max(step["peak"] for step in found["steps"]) <= base + 1.3 * weights, (source, base, found)
        assert found["cosine"] >= 0.99999, source


@pytest.mark.slow
def test_a_verified_compile_holds_the_weights_twice(base: float, tmp_path: Path) -> None:
    """HuggingFace's model, and a session of the graph. A card is emulated when the first is gone."""
    [prepared] = child(tmp_path, "prepare", layers=3, hidden=1024)
    [step] = child(tmp_path, "host", layers=3, hidden=1024)
    activations = 200  # of the longest row and of a batch of texts, on both sides; 162 and 176 on CPUs with AVX2 alone
    assert step["peak"] <= base + 2.3 * prepared["weights"] + activations, (base, prepared, step)
    assert step["cosine"] >= 0.99999 and step["rows"] > 30


def test_nothing_keeps_the_weights_alive_after_a_compile() -> None:
    module = random_bert(layers=1, hidden=64)
    alive = [weakref.ref(tensor) for tensor in module.parameters()]
    model = QEFFAutoModel(module, pooling="mean")
    model.compile(backend="onnxruntime", verify="off", seq_len=32)
    del module, model
    assert not any(tensor() is not None for tensor in alive)


def test_a_model_read_from_files_is_let_go_of_by_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_bert(layers=1, hidden=64).save_pretrained(tmp_path / "model")
    gc.collect()
    model = QEFFAutoModel.from_pretrained(tmp_path / "model", pooling="mean")
    read: list[weakref.ref[object]] = []
    origin = model._need_origin("this test")
    release = origin.release

    def watched() -> None:
        # not the pooler's: the graph does not use it, and the exporter drops it before anyone can let go of it
        read.extend(weakref.ref(tensor) for tensor in origin.module().encoder.parameters())
        release()

    monkeypatch.setattr(origin, "release", watched)
    model.compile(backend="onnxruntime", verify="off", seq_len=32)
    assert read and not any(tensor() is not None for tensor in read)


@pytest.mark.slow
def test_a_decoder_holds_its_weights_as_an_encoder_does() -> None:
    libraries = max(step["peak"] for step in measure_decoder(layers=1, hidden=64)["steps"])
    found = measure_decoder(layers=4, hidden=1024)
    weights, (exported, verified) = found["weights"], found["steps"]
    activations = 200
    assert weights > 250
    assert exported["peak"] <= libraries + 1.3 * weights, (libraries, found)
    assert verified["peak"] <= libraries + 2.3 * weights + activations, (libraries, found)
