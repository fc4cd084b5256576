"""verify in compile and after it: on the host, on a card, on a saved program, for a head, for a model in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification, program
from QEfficient.build.check import EMULATED, HOST
from QEfficient.errors import NumericsError, OptionError, TransformError, UsageError, VerificationError
from QEfficient.numerics.explain import explain
from QEfficient.numerics.verify import LIMITS, Limits, Verification
from QEfficient.records import CompileOptions, Manifest, Program
from tests.numerics.planted import rescale_value
from tests.sdk import FakeSdk, make_sdk
from tests.task_repos import text_repo
from tests.tiny_repo import tiny_repo

pytestmark = [pytest.mark.slow, pytest.mark.own_exports]

ROOT = Path(__file__).parents[2]
OWN = ["A text of the caller's.", "And one more of them, a little longer than the first."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("road")


@pytest.fixture
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module's own cache: every graph is exported once."""
    monkeypatch.setenv("QEFF_HOME", str(folder / "home"))
    return folder / "home"


@pytest.fixture(scope="module")
def right(folder: Path) -> Path:
    return tiny_repo(folder / "right")


@pytest.fixture(scope="module")
def hot(folder: Path) -> Path:
    """The same function; in its second layer fp16 overflows."""
    repo = tiny_repo(folder / "hot")
    model = BertModel.from_pretrained(repo)
    rescale_value(model, 1, 16)
    model.save_pretrained(repo)
    return repo


@pytest.fixture
def sdk(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSdk:
    made = make_sdk(tmp_path / "sdk", generation="new")
    monkeypatch.setenv("QEFF_QAIC_SDK", str(made.root))
    return made


def load(repo: Path) -> QEFFAutoModel:
    return QEFFAutoModel.from_pretrained(repo, pooling="auto")


def manifest_of(model: Any) -> Manifest:
    return program.load(Path(str(model.program_path))).manifest


def programs(home: Path) -> list[Path]:
    return sorted(home.glob("*/program-*"))


# ---------------------------------------------------------------------------------------------- compile


def test_texts_and_limits_are_in_the_key_and_in_the_manifest(home: Path, right: Path) -> None:
    model = load(right)
    model.compile(seq_len=32)
    plain, usual = model.program_path, manifest_of(model)
    found = Verification.from_json(usual.verify)
    assert usual.verify["verify"] == "on" and usual.verify["passed"]
    assert (found.where, found.limits) == (f"an ONNX graph, in {HOST}", LIMITS["fp32"])
    assert usual.key["limits"] is None and usual.key["texts"] == []

    limits = {"min_cosine": 0.999, "max_logit_error": None}
    model.compile(seq_len=32, texts=OWN, limits=limits)
    own = manifest_of(model)
    assert (own.key["texts"], own.key["limits"]) == (OWN, limits)
    result = Verification.from_json(own.verify)
    assert result.passed and result.limits.min_cosine == 0.999
    assert result.max_difference < 1e-5

    paths, rows = {str(plain), str(model.program_path)}, []
    for other in ({"texts": OWN[:1]}, {"limits": {"min_cosine": 0.998}}, {"limits": Limits()}):
        model.compile(seq_len=32, **other)
        paths.add(str(model.program_path))
        rows.append(manifest_of(model).verify["rows"])
    assert len(paths) == 5
    assert rows == [result.rows - 1, result.rows - 2, result.rows - 2]
    model.compile(seq_len=32)
    assert model.program_path == plain


def test_off_is_recorded_and_goes_without_texts_and_limits(home: Path, hot: Path) -> None:
    model = load(hot)
    model.compile(seq_len=32, verify="off")
    assert manifest_of(model).verify == {"verify": "off"} == model.device_report()["verify"]
    assert manifest_of(model).key["onnx"]["verify"] == "off"
    for more in ({"texts": OWN}, {"limits": {}}):
        with pytest.raises(OptionError, match="runs no text and holds no limit"):
            model.compile(seq_len=32, verify="off", **more)


def test_a_limit_that_does_not_hold_leaves_what_was_there(home: Path, right: Path, tmp_path: Path) -> None:
    model = load(right)
    model.compile(seq_len=32)
    path, vector, before = model.program_path, model.encode("a text"), programs(home)
    with pytest.raises(VerificationError) as caught:
        model.compile(seq_len=32, texts=OWN, limits={"max_difference": 0.0}, compile_dir=tmp_path / "copy")
    assert HOST in caught.value.what and "largest difference" in str(caught.value.got)
    assert all(f"{row.row} (" in str(caught.value.got) for row in caught.value.verification.worst[:3])
    assert caught.value.verification.limits.max_difference == 0.0
    assert programs(home) == before and not list((home / "tmp").iterdir())
    assert not (tmp_path / "copy").exists()
    assert model.program_path == path
    assert (model.encode("a text") == vector).all()


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"limits": {"min_cosin": 0.9}}, OptionError, "Did you mean 'min_cosine'"),
        ({"limits": 0.9}, OptionError, "limits=0.9"),
        ({"texts": "one text"}, UsageError, "put it into a list"),
    ],
)
def test_arguments_that_can_t_be_used(
    home: Path, right: Path, arguments: dict[str, Any], kind: type[Exception], words: str
) -> None:
    model = load(right)
    with pytest.raises(kind, match=words):
        model.compile(seq_len=32, **arguments)
    model.compile(seq_len=32)
    with pytest.raises(kind, match=words):
        model.verify(**arguments)


# ---------------------------------------------------------------------------------------------- verify()


def test_a_host_program_verified_and_emulated(home: Path, right: Path) -> None:
    model = load(right)
    with pytest.raises(UsageError, match="compile"):
        model.verify()
    model.compile(seq_len=[16, 64])
    found = model.verify(OWN)
    assert found.passed and found.where == HOST and found.reference == "HuggingFace float32"
    assert found.rank_agreement == 1.0 and found.limits == LIMITS["fp32"]
    assert model.verify().rows == found.rows - len(OWN)
    emulated = model.verify(emulate=True)
    assert emulated.passed and emulated.where == EMULATED and emulated.limits == LIMITS["fp16"]
    assert found.max_difference < 1e-5 < emulated.max_difference
    with pytest.raises(VerificationError, match="the card's arithmetic"):
        model.verify(emulate=True, limits={"min_cosine": 0.9999999})
    assert not model.verify(emulate=True, limits={"min_cosine": 0.9999999}, check=False).passed


def test_a_saved_program_is_compared_with_its_own_graph_without_torch(home: Path, right: Path, tmp_path: Path) -> None:
    model = load(right)
    model.compile(seq_len=[16, 64])
    saved = model.save_pretrained(tmp_path / "saved")
    code = f"""
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from QEfficient import QEFFAutoModel
model = QEFFAutoModel.from_pretrained({str(saved)!r})
print(json.dumps([model.verify({OWN!r}).to_json(), model.verify(emulate=True).to_json()]))
"""
    environment = os.environ | {"QEFF_HOME": str(tmp_path / "other"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    host, emulated = (Verification.from_json(found) for found in json.loads(done.stdout))
    assert host.passed and emulated.passed
    assert host.reference == "the program's own graph in fp32 on the host"
    assert (host.where, emulated.where) == (HOST, EMULATED)
    assert host.max_difference < 1e-5 < emulated.max_difference
    assert host.rows == emulated.rows + len(OWN) > 20


def test_a_model_in_memory_has_random_rows_only(home: Path) -> None:
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48, initializer_range=0.3,
        max_position_embeddings=64, vocab_size=99,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = QEFFAutoModel(BertModel(config).eval(), pooling="mean")
    model.compile(seq_len=32)
    for found in (Verification.from_json(manifest_of(model).verify), model.verify()):
        assert found.passed and found.rank_agreement is None and found.label_agreement is None
        assert all(row.row.startswith("random row") for row in found.worst)
    for call in (model.compile, model.verify):
        with pytest.raises(UsageError, match="can't be run on texts"):
            call(texts=OWN)


def test_a_head_has_labels_and_logits(home: Path, folder: Path) -> None:
    (folder / "head").mkdir()
    repo = text_repo(folder / "head", "AutoModelForSequenceClassification", ["bad", "so so", "good"])
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo)
    model.compile(seq_len=64)
    for found in (Verification.from_json(manifest_of(model).verify), model.verify()):
        assert found.label_agreement == 1.0 and found.rank_agreement is None
        assert found.max_logit_error is not None and 0 < found.max_logit_error < 1e-4
    emulated = model.verify(emulate=True, check=False)
    assert emulated.label_agreement is not None and emulated.label_agreement >= 0.95
    assert (emulated.max_logit_error or 0) > found.max_logit_error
    with pytest.raises(VerificationError, match="logit error"):
        model.compile(seq_len=64, limits={"max_logit_error": 1e-9})


# ---------------------------------------------------------------------------------------------- a card


def test_overflow_is_found_before_the_compiler_runs(sdk: FakeSdk, home: Path, hot: Path) -> None:
    sdk.set(compiler_failure="crash")  # a call of it would be a CompileError
    model = load(hot)
    with pytest.raises(VerificationError) as caught:
        model.compile(seq_len=32, backend="qaic")
    error = caught.value
    assert EMULATED in error.what and "layer.1.attention" in error.what
    assert "hold NaN or Inf" in str(error.got) and "doctor()" in str(error.do)
    assert error.verification.not_finite > 0 and error.verification.limits == LIMITS["fp16"]
    assert model.program_path is None and not list((home / "tmp").iterdir())


def test_a_graph_of_the_caller_s_that_was_not_verified_does_not_stand_for_one_that_is(home: Path, hot: Path) -> None:
    model = load(hot)
    keywords: dict[str, Any] = {"onnx_path": model.export(), "backend": "emulator", "seq_len": 32}
    model.compile(**keywords, verify="off")
    with pytest.raises(VerificationError):
        model.compile(**keywords)


def test_a_saved_program_holds_the_files_of_its_options(
    sdk: FakeSdk, hot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine has neither the doctor's file nor the cache that it stood in."""
    model, saved = load(hot), {}
    for backend in ("qaic", "emulator", "onnxruntime"):
        model.compile(backend=backend, num_cores=14, seq_len=32, node_precision_info=True)
        saved[backend] = model.save_pretrained(tmp_path / backend)
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "another"))
    for backend, other in (("emulator", None), ("qaic", "emulator"), ("qaic", "onnxruntime"), ("onnxruntime", None)):
        opened = QEFFAutoModel.from_pretrained(saved[backend], backend=other)
        files = manifest_of(opened).options.files
        assert set(files) == {"node_precision_info"} and not any(file.is_absolute() for file in files.values())
        assert opened.verify(emulate=True).passed


def test_an_error_about_nan_stays_where_the_precision_can_t_be_known(home: Path, hot: Path) -> None:
    model = load(hot)
    model.compile(backend="emulator", seq_len=32, verify="off")
    folder = Path(str(model.program_path))
    nodes = CompileOptions(files={"node_precision_info": Path("gone.yaml")})
    lost = Program(folder, replace(manifest_of(model), options=nodes))
    error = NumericsError("NaN.", got="row 3", allowed="finite", do="look", rows=[3])
    row = {name: np.ones(4, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    assert explain(lost, error, row) is error


def test_a_saved_program_can_t_be_compiled(home: Path, right: Path, tmp_path: Path) -> None:
    model = load(right)
    model.compile(seq_len=32)
    with pytest.raises(UsageError, match="export or compile needs the torch model"):
        load(Path(model.save_pretrained(tmp_path / "saved"))).compile()


def test_a_card_s_program_says_how_far_it_is_off(sdk: FakeSdk, right: Path) -> None:
    model = load(right)
    model.compile(seq_len=32, backend="qaic")
    recorded = manifest_of(model).verify
    card, graph = Verification.from_json(recorded), Verification.from_json(recorded["graph"])
    assert (card.where, card.limits) == (EMULATED, LIMITS["fp16"])
    assert (graph.where, graph.limits) == (f"an ONNX graph, in {HOST}", LIMITS["fp32"])
    assert graph.max_difference < 1e-5 < card.max_difference
    found = model.verify()
    assert found.passed and found.where == "fp16 on qaic"
    assert found.max_difference > 1e-5
    model.close()


def test_a_row_that_overflows_on_the_card_is_named_with_its_layer(sdk: FakeSdk, hot: Path) -> None:
    model = load(hot)
    model.compile(seq_len=32, batch_size=2, backend="qaic", verify="off")
    with pytest.raises(NumericsError) as caught:
        model.encode(["a text", "another text"])
    assert "row 0 (4 tokens), row 1 (4 tokens)" in str(caught.value.got)
    assert "In row 0 the first one comes from" in caught.value.what and "layer.1.attention" in caught.value.what
    assert caught.value.rows == (0, 1)
    with pytest.raises(NumericsError, match="layer.1.attention"):
        model.generate({"input_ids": np.array([[101, 2026, 102]])})
    with pytest.raises(VerificationError, match="layer.1.attention"):
        model.verify()
    model.close()


def test_where_the_layer_can_t_be_looked_for_the_error_stays(
    sdk: FakeSdk, hot: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise TransformError("The graph uses an operator of nobody's.")

    model = load(hot)
    model.compile(seq_len=32, batch_size=2, backend="qaic", verify="off")
    monkeypatch.setattr("QEfficient.numerics.first_bad.first_bad", fails)
    with pytest.raises(NumericsError, match="holds NaN or infinite numbers.\n"):
        model.encode("a text")
    assert "an operator of nobody's" in caplog.text
    model.close()
