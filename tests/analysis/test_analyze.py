"""``analyze``: the plain function on graphs, and the method before and after ``compile`` and on a saved program."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from transformers import ViTConfig, ViTModel

from QEfficient import QEFFAutoModel
from QEfficient.analysis.analysis import Analysis
from QEfficient.analysis.analyze import analyze
from QEfficient.analysis.costs import bucket_costs
from QEfficient.analysis.lengths import fill
from QEfficient.errors import OptionError, UsageError
from QEfficient.onnx_transforms import apply, describe
from QEfficient.onnx_transforms.layer_functions import LayerFunctions
from QEfficient.records import Shape
from tests import tiny_graphs
from tests.tiny_models import tiny
from tests.tiny_repo import tiny_repo

TEXTS = ["My name is", "a longer text than that one", "word " * 100]


# ------------------------------------------------------------------------------------------------ the plain function


def test_everything_about_a_graph(tmp_path: Path) -> None:
    model = tiny_graphs.make(tmp_path)
    found = analyze(model, [Shape(16), Shape(8)], name="tiny")
    dim, words, places = tiny_graphs.DIM, tiny_graphs.VOCABULARY, tiny_graphs.POSITIONS
    weights = (words + places) * dim + 3 * dim * dim + 8 * dim * dim + dim + 2  # and two scalars
    assert (found.name, found.model, found.graph.parameters) == ("tiny", None, weights)
    assert found.graph.inputs == dict.fromkeys(["input_ids", "attention_mask"], "int64[batch_size, seq_len]")
    assert [costs.bucket.length for costs in found.buckets] == [8, 16]
    assert found.buckets[0].flops == 2 * 8 * (3 * dim * dim + 8 * dim * dim) + 2 * 2 * 8 * 8 * dim
    assert len(found.roofline) == len({(point.card, point.bucket) for point in found.roofline}) == 6
    assert {(fit.card, fit.precision) for fit in found.fits} == {
        (card, form) for card in ("standard", "pro", "ultra") for form in ("fp32", "fp16", "mxfp6", "int8")
    }
    assert (found.lengths, found.risk, found.predictions, found.verification) == (None, None, (), None)
    assert next(iter(found.versions)) == "QEfficient" and found.created.endswith("+00:00")


def test_as_json(tmp_path: Path) -> None:
    found = replace(analyze(tiny_graphs.make(tmp_path), [Shape(8)]), lengths=fill([3], [Shape(8)]))
    read_back = json.loads(found.to_json())
    assert set(read_back) == {one.name for one in fields(Analysis)}
    assert read_back["buckets"][0]["flops"] == found.buckets[0].flops
    assert read_back["lengths"]["histogram"] == {"3": 1}


# ------------------------------------------------------------------------------------------------ the method


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(home))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"))


@pytest.fixture
def model(repo: Path) -> QEFFAutoModel:
    return QEFFAutoModel.from_pretrained(repo, pooling="mean")


def test_before_compile_the_model_is_exported(model: QEFFAutoModel, repo: Path) -> None:
    found = model.analyze(texts=TEXTS)
    assert found.name == str(repo)
    assert [costs.bucket for costs in found.buckets] == [Shape(32), Shape(64)]  # what compile would make
    assert found.model is not None and found.model.bucket == Shape(32)
    layers = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert found.graph.weights.matmul_parameters == layers
    # A pooler that nobody asks for stays behind, and of weights that are equal (biases of 0 here) one is kept.
    assert layers < found.graph.parameters < found.model.parameters - 32 * 32 - 32
    assert found.model.flops - 2 * 32 * 32 == found.buckets[0].flops
    assert {part.path for part in found.model.modules} >= {"embeddings.word_embeddings", "encoder.layer.1.output.dense"}
    assert found.lengths is not None and (found.lengths.rows, found.lengths.shortened) == (3, 1)
    assert found.lengths.histogram[64] == 1
    assert found.verification is not None and found.verification["verify"] == "on"
    assert found.risk is not None and {one.module for one in found.risk.ranges} >= {"encoder.encoder.layer.1.output"}
    assert len(found.predictions) == 2 * 3 * 3  # buckets, cards, objectives
    assert [one for one in found.lint if one.level != "note"] == []
    assert all("encoder" in part.path or "head" in part.path for part in found.graph.modules if part.parameters > 1)


def test_after_compile_the_program_s_own_buckets_are_analysed(model: QEFFAutoModel) -> None:
    model.compile(seq_len=[16, 48], batch_size=4, backend="onnxruntime")
    found = model.analyze(texts=TEXTS, before=False)
    assert [costs.bucket for costs in found.buckets] == [Shape(16, 4), Shape(48, 4)]
    assert found.model is None
    assert found.lengths is not None and [load.length for load in found.lengths.buckets] == [16, 48]
    one = model.analyze(seq_len=24, batch_size=1, before=False)
    assert [costs.bucket for costs in one.buckets] == [Shape(24, 1)]


SAVED = """
import sys
from QEfficient import QEFFAutoModel
found = QEFFAutoModel.from_pretrained({folder!r}).analyze(texts=["My name is"], seq_len=[16, 24])
assert found.model is None and found.verification["verify"] == "on"
assert [costs.bucket.length for costs in found.buckets] == [16, 24]
assert found.lengths.rows == 1
assert not {{"torch", "transformers"}} & set(sys.modules)
"""


def test_of_a_saved_program_the_graph_is_left_and_no_torch_is_needed(model: QEFFAutoModel, tmp_path: Path) -> None:
    model.compile(seq_len=[16], backend="onnxruntime")
    folder = model.save_pretrained(tmp_path / "saved")
    subprocess.run([sys.executable, "-c", SAVED.format(folder=folder)], check=True)


def test_layers_as_functions_cost_the_same(model: QEFFAutoModel, tmp_path: Path) -> None:
    plain = describe(Path(model.export()))
    called = apply(plain, tmp_path, passes=(LayerFunctions,))
    one, other = (bucket_costs(each, Shape(24, 2)) for each in (plain, called))
    assert (other.flops, other.vector_ops, other.peak) == (one.flops, one.vector_ops, one.peak)
    flops = [{part.path: part.flops for part in costs.modules if part.flops} for costs in (one, other)]
    assert flops[0] == flops[1]


def test_the_report_is_written(model: QEFFAutoModel, tmp_path: Path) -> None:
    model.analyze(seq_len=16, before=False, report=tmp_path / "report.html")
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_bad_arguments(model: QEFFAutoModel) -> None:
    with pytest.raises(OptionError, match="seq_len"):
        model.analyze(seq_len=65)
    with pytest.raises(OptionError, match="batch_size"):
        model.analyze(batch_size=0)
    with pytest.raises(UsageError, match="list of str"):
        model.analyze(texts="one text", before=False)  # type: ignore[arg-type]


def test_images_have_no_length_to_choose() -> None:
    sizes = {"image_size": 8, "patch_size": 4, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    model = QEFFAutoModel(ViTModel(ViTConfig(**sizes, num_hidden_layers=1)))
    with pytest.raises(OptionError, match="one size"):
        model.analyze(seq_len=8)


def test_texts_need_a_tokenizer() -> None:
    with pytest.raises(UsageError, match="no tokenizer"):
        QEFFAutoModel(tiny("distilbert")).analyze(texts=TEXTS, before=False)
