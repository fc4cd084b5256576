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
from QEfficient.errors import CompressionRefusedError, InputError, OptionError, UsageError, VerificationError
from QEfficient.evaluate import compare
from QEfficient.source.identity import tensors_digest
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
    with pytest.raises(VerificationError):
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
