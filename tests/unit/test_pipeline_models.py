"""A pipeline takes our objects whatever was imported or made first; what it asks of a model is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, pipeline
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSES

from QEfficient import QEFFAutoModelForSequenceClassification
from QEfficient.auto.pipelines import register
from QEfficient.errors import UsageError
from tests.pipeline_checks import silence
from tests.task_repos import text_repo

ROOT = Path(__file__).parents[2]
CHILD = """
import logging, sys
said = []
handler = logging.Handler(logging.WARNING)
handler.emit = said.append
for name in (None, "transformers"):
    logging.getLogger(name).addHandler(handler)
def make():
    from QEfficient import QEFFAutoModelForSequenceClassification
    model = QEFFAutoModelForSequenceClassification.from_pretrained(sys.argv[1])
    model.generate({"input_ids": [[1, 2, 3]]})
    return model
"""
ORDERS = {
    "pipeline first": "from transformers import pipeline; model = make()",
    "object first": "model = make(); assert not {'torch', 'transformers'} & set(sys.modules); "
    "from transformers import pipeline",
}


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = ["bad", "good"]
    return text_repo(tmp_path_factory.mktemp("repo"), "AutoModelForSequenceClassification", labels)


@pytest.fixture(scope="module")
def program(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        model = QEFFAutoModelForSequenceClassification.from_pretrained(repo)
        model.compile(backend="onnxruntime")
    return model.save_pretrained(tmp_path_factory.mktemp("program"))


@pytest.mark.parametrize("order", ORDERS)
def test_any_order_of_imports(program: str, order: str) -> None:
    code = f"""{CHILD}
{ORDERS[order]}
pipe = pipeline("text-classification", model=model, tokenizer=model.name_or_path)
assert pipe("A fine day")[0]["label"] in ("bad", "good")
assert not [record.getMessage() for record in said]
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_real_models_are_loaded_as_before(repo: Path) -> None:
    before = dict(CLASSES._extra_content)
    for _ in range(2):
        register(QEFFAutoModelForSequenceClassification, "AutoModelForSequenceClassification")
    assert len(CLASSES._extra_content) <= len(before) + 1
    marker = next(key for key, kind in CLASSES._extra_content.items() if kind is QEFFAutoModelForSequenceClassification)
    assert issubclass(marker, transformers.PreTrainedConfig)
    assert marker.model_type not in transformers.CONFIG_MAPPING
    loaded = AutoModelForSequenceClassification.from_pretrained(repo)
    assert type(loaded) is transformers.BertForSequenceClassification


def test_nothing_is_imported_to_register(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "transformers.models.auto.modeling_auto"
    monkeypatch.delitem(sys.modules, name)
    register(QEFFAutoModelForSequenceClassification, "AutoModelForSequenceClassification")
    assert name not in sys.modules


def test_what_a_pipeline_asks(repo: Path, program: str) -> None:
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(repo)
    for ours in (QEFFAutoModelForSequenceClassification.from_pretrained(place) for place in (repo, program)):
        for name in ("main_input_name", "base_model_prefix", "device", "dtype"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.input_modalities == "text" and theirs.input_modalities in ("text", ["text"])
        assert ours.can_generate() is False
        assert ours.config.id2label == theirs.config.id2label
        assert ours.config is ours.config
    assert (ours.name_or_path, theirs.name_or_path) == (program, str(repo))
    assert QEFFAutoModelForSequenceClassification(theirs).name_or_path == str(repo)
    batch = {"input_ids": torch.tensor([[1, 2, 3]])}
    assert torch.equal(ours.forward(**batch, attention_mask=None).logits, ours(**batch).logits)
    assert "QEFFAutoModelForSequenceClassification" in repr(pipeline("text-classification", ours, tokenizer=str(repo)))


def test_a_pipeline_leaves_the_model_on_the_cpu(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a GPU a pipeline would move it there."""
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert model.hf_device_map is None
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(transformers.pipelines.base, "is_torch_cuda_available", lambda: True)
    with silence():
        assert pipeline("text-classification", model=model, tokenizer=str(repo)).device == torch.device("cpu")


def test_a_model_that_is_not_compiled(repo: Path) -> None:
    pipe = pipeline(
        "text-classification", QEFFAutoModelForSequenceClassification.from_pretrained(repo), tokenizer=str(repo)
    )
    with pytest.raises(UsageError, match="call compile"):
        pipe("A fine day")
