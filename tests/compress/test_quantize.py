"""``quantize``: another object whose program has smaller numbers, measured before it is kept."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient import settings as own_settings
from QEfficient.backends.host import sums_int8_in_32_bits
from QEfficient.errors import CompressionRefusedError, InputError, OptionError, UsageError, VerificationError
from QEfficient.evaluate import compare
from QEfficient.source.identity import tensors_digest
from tests.sdk import make_sdk
from tests.train import small

ROWS = {"text": small.TEXTS[:12], "label": [f"LABEL_{label == 'positive':d}" for label in small.LABELS[:12]]}
WIDE = {"min_cosine": -1.0, "max_difference": None, "min_rank_agreement": None, "min_label_agreement": None}


def classifier(repo: Path) -> Any:
    """With a head of random numbers, saved: the files hold all weights."""
    small.classifier(repo).save_pretrained(repo)
    return QEFFAutoModelForSequenceClassification.from_pretrained(repo)


def files() -> dict[str, tuple[int, int]]:
    """Everything in the cache but locks and remembered digests."""
    home = own_settings.home()
    return {
        str(file.relative_to(home)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in home.rglob("*")
        if file.is_file() and file.relative_to(home).parts[0] not in ("locks", "digests")
    }


def test_a_classifier_in_int8_is_another_object_with_its_record(repo: Path, tmp_path: Path) -> None:
    model = classifier(repo)
    made = model.quantize("int8", texts=small.TEXTS[:8], eval=ROWS, limits=WIDE, max_drop={"accuracy": 1.0}, seq_len=32)
    assert type(made) is type(model) and model.program_path is None and model.compressed == []
    step = made.compressed[0]
    assert step["step"] == "quantize" and step["how"] == {"to": "int8", "backend": "onnxruntime", "limits": WIDE}
    assert step["data"]["texts"]["rows"] == 8 and step["data"]["eval"]["rows"] == 12
    assert len(step["data"]["eval"]["digest"]) == 64 and step["max_drop"] == {"accuracy": 1.0}
    assert [one["name"] for one in step["metrics"]][0] == "accuracy" and step["made"]["bytes"] > 0
    report = made.device_report()
    assert report["compute"] == "int8" and report["compressed"] == made.compressed and report["int8"]

    saved = type(model).from_pretrained(made.save_pretrained(tmp_path / "saved"))
    assert saved.compressed == made.compressed
    asked = small.tokenizer(repo)(small.TEXTS[:4], padding=True, return_tensors="np")
    assert np.array_equal(saved.generate(asked)["logits"], made.generate(asked)["logits"])
    assert pickle.loads(pickle.dumps(made)).compressed == made.compressed

    rows = compare([model, made, saved], ROWS, seconds=None)
    assert [one.measured.lineage for one in rows.models] == [None, "quantized to int8", "quantized to int8"]

    before = made.program_path
    assert made.compile(seq_len=32) == before  # found: it is the same program
    with pytest.raises(OptionError, match="quantized to 'int8'"):
        made.compile(compute="fp32")
    with pytest.raises(UsageError, match="quantized already"):
        made.quantize("int8")
    made.fine_tune(ROWS, max_steps=1)
    assert made.compressed == []  # those were other weights
    model.compile(seq_len=32)
    assert model.device_report()["compute"] == "fp32" and "compressed" not in model.device_report()


def test_a_form_is_what_the_program_computes_in(repo: Path, tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    with pytest.raises(OptionError, match="compute='int8'"):
        model.quantize("int8", compute="fp32", seq_len=16)
    for to, backend, told in (("mxfp6", "onnxruntime", "'emulator', 'qaic'"), ("int8", "emulator", "'openvino'")):
        with pytest.raises(OptionError, match=rf"can't run(.|\n)*allowed:.*{told}"):
            model.quantize(to, backend=backend, seq_len=16)
    made = model.quantize("mxfp6", limits=WIDE, seq_len=16)
    with pytest.raises(OptionError, match="can't run"):
        made.compile(backend="onnxruntime", seq_len=16)
    with pytest.raises(OptionError, match="quantized with limits is verified"):
        made.compile(seq_len=16, verify="off")
    saved = QEFFAutoModel.from_pretrained(made.save_pretrained(tmp_path / "saved"), backend="onnxruntime")
    model.compile(seq_len=16)
    assert np.allclose(saved.encode(small.TEXTS[:4]), model.encode(small.TEXTS[:4]), atol=1e-6)
    assert saved.compressed == [] and "compressed" not in saved.device_report()  # its graph is in fp32


def test_narrow_weights_stay_narrow_on_another_host(repo: Path, tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    made = model.quantize("int8_weights", limits=WIDE, seq_len=16, backend="openvino")
    saved = QEFFAutoModel.from_pretrained(made.save_pretrained(tmp_path / "saved"), backend="onnxruntime")
    own, report = made.device_report(), saved.device_report()
    assert report["compute"] == "int8_weights" and report["weights"] == own["weights"]
    assert saved.compressed == made.compressed
    assert report["program"] != own["program"]
    here, there = (
        {file.name: file.read_bytes() for file in Path(one["program"]).glob("model.onnx*")} for one in (own, report)
    )
    assert here == there and len(here) == 2  # a graph and its weights
    # OpenVINO rounds what such weights are multiplied with, where the CPU has VNNI: 0.0064 here; unrounded it is 2e-7
    moved = np.abs(saved.encode(small.TEXTS[:4]) - made.encode(small.TEXTS[:4])).max()
    assert moved < (0.02 if sums_int8_in_32_bits() else 1e-5)


def test_keywords_of_compile_do_what_they_do_there(repo: Path, tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    made = model.quantize("mxfp6", limits=WIDE, seq_len=16, strict=True, compile_dir=tmp_path / "programs")
    assert Path(made.program_path).parent == tmp_path / "programs" and Path(made.program_path).is_dir()
    assert made.device_report()["compressed"] == made.compressed
    with pytest.raises(InputError, match="batch"):
        made.qpc_session.run({one.name: np.ones((3, 16), np.int64) for one in made.qpc_session.inputs})


def test_figures_of_evaluators_stay_with_the_model_that_they_are_of(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")

    def score(one: Any) -> float:
        one.model_card_data.set_evaluation_metrics(type("Judge", (), {"name": "dev"}), {"score": 1.0})
        return 1.0

    made = model.quantize("mxfp6", limits=WIDE, seq_len=16, score=score)
    assert made.model_card_data.metrics == {"dev": {"score": 1.0}} and model.model_card_data.metrics == {}


def test_beside_a_card(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", compute="emulate").root))
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    told: list[str] = []

    def score(one: Any) -> float:
        told.append(f"{one.device_report()['backend']} {one.device_report()['compute']}")
        return 1.0

    model.quantize("int8", limits=WIDE, seq_len=16, score=score, compute="int8")
    assert told == ["onnxruntime fp32", "onnxruntime int8"]  # and never the card, whose fp16 is another model

    made = model.quantize("mxfp6", limits=WIDE, seq_len=16)
    preview = made.encode(small.TEXTS[:4])
    made.compile(backend="qaic", seq_len=16)
    assert made.device_report()["backend"] == "qaic" and made.device_report()["compressed"] == made.compressed
    assert np.allclose(made.encode(small.TEXTS[:4]), preview, atol=1e-4)
    made.close()


def test_mxfp6_is_a_preview_by_emulation(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    model.compile(seq_len=16)
    made = model.quantize("mxfp6", limits=WIDE, seq_len=16, score=lambda one: float(one.encode("this is good")[0]))
    assert made.device_report()["backend"] == "emulator" and model.device_report()["backend"] == "onnxruntime"
    before, after = (one.encode(small.TEXTS[:4]) for one in (model, made))
    assert 0 < np.abs(before - after).max() < 0.2
    assert made.compressed[0]["metrics"][0]["name"] == "score"


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.floats(0, 0.5), before=st.floats(0, 1), worse=st.floats(0.001, 1), form=st.sampled_from(["int8", "mxfp6"])
)
def test_a_guard_that_is_exceeded_leaves_everything_as_it_was(
    repo: Path, limit: float, before: float, worse: float, form: str
) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    model.compile(seq_len=16)
    program, weights, there = model.program_path, tensors_digest(model.model), files()
    told = iter([before, before - limit - worse])
    with pytest.raises(CompressionRefusedError, match="max_drop"):
        model.quantize(form, limits=WIDE, max_drop={"score": limit}, score=lambda one: next(told), seq_len=16)
    assert files() == there
    assert model.program_path == program and tensors_digest(model.model) == weights and model.compressed == []


def test_limits_that_do_not_hold_leave_everything_as_it_was(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    there = files()
    with pytest.raises(VerificationError, match="without mxfp6_matmul, or pass looser limits"):
        model.quantize("mxfp6", limits={"min_cosine": 1.1}, seq_len=16)
    assert files() == there and model.program_path is None


@pytest.mark.parametrize(
    ("keywords", "error", "told"),
    [
        ({"to": "int3"}, UsageError, "int4_weights"),
        ({"to": "int8", "texts": []}, InputError, "calibrate"),
        ({"to": "int8", "max_drop": {"accuracy": 0.1}}, OptionError, "not measured"),
        ({"to": "int8", "eval": ROWS, "max_drop": {"acuracy": 0.1}}, OptionError, "accuracy"),
        ({"to": "int8", "eval": ROWS, "max_drop": {"accuracy": -0.1}}, OptionError, "from 0 up"),
        ({"to": "int8", "score": 3}, OptionError, "score"),
        ({"to": "mxfp6", "limits": WIDE, "seq_len": 16, "score": lambda _: None}, OptionError, "score gives no number"),
        ({"to": "int8", "eval": {"text": [], "label": []}}, InputError, "rows"),
        ({"to": "int8", "seqlen": 3}, OptionError, "seqlen"),
    ],
)
def test_what_can_not_be_is_refused_before_the_work(
    repo: Path, keywords: dict[str, Any], error: type[Exception], told: str
) -> None:
    model = classifier(repo)
    there = files()
    with pytest.raises(error, match=told):
        model.quantize(**keywords)
    assert files() == there


def test_a_saved_program_has_no_weights_to_quantize(repo: Path, tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    model.compile(seq_len=16)
    saved = QEFFAutoModel.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    with pytest.raises(UsageError, match="saved program"):
        saved.quantize("int8")
