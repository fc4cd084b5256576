"""Pruned models on the whole road: read, exported, run on the host and the fake card, verified, saved, read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.source.identity import tensors_digest
from tests.compress.pruning import FAMILIES, cut_model, folder_of, whole_model
from tests.sdk import make_sdk
from tests.train import small

TEXTS = small.TEXTS[:5]
ROWS = {"text": small.TEXTS[:16], "label": small.LABELS[:16]}
WIDTHS = "widths"


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(cut_model(request.param), tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=FAMILIES)
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``prune`` makes it, recovery and all."""
    folder = tmp_path_factory.mktemp(request.param)
    module = whole_model(request.param, "ForSequenceClassification", num_labels=3)
    module.config.id2label = {0: "negative", 1: "neutral", 2: "positive"}
    model = QEFFAutoModelForSequenceClassification.from_pretrained(folder_of(module, folder / "whole"))
    recover = {"max_steps": 2, "batch_size": 8}
    made = model.prune(0.3, block=8, data=ROWS, eval=ROWS, recover=recover, output_dir=folder / "pruned")
    facts = made.compressed[0]["made"]
    assert facts["share_of_encoder"] >= 0.3 and facts["parameters"][1] < facts["parameters"][0]
    return folder / "pruned" / "model"


def asked(folder: Path) -> dict[str, np.ndarray]:
    found = small.tokenizer(folder)(TEXTS, padding=True, return_tensors="np")
    return {name: array for name, array in found.items() if name != "token_type_ids"}


@pytest.mark.slow
@pytest.mark.sweep
def test_an_encoder(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = QEFFAutoModel.from_pretrained(encoder, pooling="mean")
    model.compile(seq_len=32)  # its graph is compared with torch's numbers after the export
    assert model.verify(texts=TEXTS).passed
    vectors = model.encode(TEXTS)
    again = QEFFAutoModel.from_pretrained(model.save_pretrained(tmp_path / "program"))
    assert np.array_equal(again.encode(TEXTS), vectors)
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", generation="new").root))
    card = QEFFAutoModel.from_pretrained(encoder, pooling="mean")
    card.compile(backend="qaic", num_cores=4, seq_len=32)
    assert card.device_report()["backend"] == "qaic"
    theirs = card.encode(TEXTS)
    cosine = (theirs * vectors).sum(1) / np.linalg.norm(theirs, axis=1) / np.linalg.norm(vectors, axis=1)
    assert cosine.min() > 0.999


@pytest.mark.slow
@pytest.mark.sweep
def test_a_classifier(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(classifier)
    model.compile(seq_len=32)
    assert model.verify(texts=TEXTS).passed
    logits = model.generate(asked(classifier))["logits"]
    with torch.inference_mode():
        wanted = model.model(**{name: torch.tensor(array) for name, array in asked(classifier).items()}).logits.numpy()
    assert np.abs(wanted - logits).max() < 1e-4 * max(1.0, np.abs(wanted).max())
    again = QEFFAutoModelForSequenceClassification.from_pretrained(model.save_pretrained(tmp_path / "program"))
    assert np.array_equal(again.generate(asked(classifier))["logits"], logits)
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", generation="new").root))
    card = QEFFAutoModelForSequenceClassification.from_pretrained(classifier)
    card.compile(backend="qaic", num_cores=4, seq_len=32)
    assert np.abs(card.generate(asked(classifier))["logits"] - logits).max() < 0.05 * max(1.0, np.abs(logits).max())


def test_training_keeps_the_widths(tmp_path: Path) -> None:
    folder = folder_of(cut_model("bert", "ForSequenceClassification", num_labels=2), tmp_path / "pruned")
    model = QEFFAutoModelForSequenceClassification.from_pretrained(folder)
    said, before = model.model.config.qefficient[WIDTHS], tensors_digest(model.model)
    rows = {"text": small.TEXTS[:16], "label": [f"LABEL_{label == 'positive':d}" for label in small.LABELS[:16]]}
    model.fine_tune(rows, max_steps=2, batch_size=8, output_dir=tmp_path / "tuned")
    assert model.model.config.qefficient[WIDTHS] == said and tensors_digest(model.model) != before
    found = QEFFAutoModelForSequenceClassification.from_pretrained(tmp_path / "tuned" / "model")
    assert tensors_digest(found.model) == tensors_digest(model.model)


def test_a_pruned_embedding_model_is_trained_and_distilled_to_its_last_layers(tmp_path: Path) -> None:
    """The student keeps the widths of the layers that it keeps; sentence-transformers writes and we read it."""
    folder = folder_of(cut_model("bert"), tmp_path / "pruned")
    model = QEFFAutoModel.from_pretrained(folder, pooling="mean")
    said = model.model.config.qefficient[WIDTHS]
    student = model.distill(layers=[1, 2], data=small.TEXTS, max_steps=2, batch_size=8, output_dir=tmp_path / "student")
    assert student.model.config.qefficient[WIDTHS] == {"0": said["1"], "1": said["2"]}
    assert student.model.encoder.layer[1].attention.self.query.out_features == 8 * said["2"]["heads"]
    scores = [1.0 if number % 2 else 0.0 for number in range(16)]
    rows = {"sentence1": small.TEXTS[:16], "sentence2": small.TEXTS[2:18], "score": scores}
    student.fine_tune(rows, max_steps=2, batch_size=8, output_dir=tmp_path / "tuned")
    assert student.model.config.qefficient[WIDTHS] == {"0": said["1"], "1": said["2"]}
    found = QEFFAutoModel.from_pretrained(tmp_path / "tuned" / "model", pooling="auto")
    assert tensors_digest(found.model) == tensors_digest(student.model)


def test_adapters_checkpoints_and_the_best_step(tmp_path: Path) -> None:
    """A run with LoRA that goes back to its best step, and one that is taken up again, each of a pruned model."""
    folder = folder_of(cut_model("distilbert", "ForSequenceClassification", num_labels=2), tmp_path / "pruned")
    rows = {"text": small.TEXTS[:16], "label": [f"LABEL_{label == 'positive':d}" for label in small.LABELS[:16]]}
    held_out = {name: column[:8] for name, column in rows.items()}
    model = QEFFAutoModelForSequenceClassification.from_pretrained(folder)
    said = model.model.config.qefficient
    model.fine_tune(rows, held_out, lora=True, epochs=2, save_steps=1, early_stopping=1, output_dir=tmp_path / "lora")
    found = QEFFAutoModelForSequenceClassification.from_pretrained(tmp_path / "lora" / "model")
    assert tensors_digest(found.model) == tensors_digest(model.model) and found.model.config.qefficient == said
    run = {"max_steps": 2, "save_steps": 1, "batch_size": 8, "output_dir": tmp_path / "run"}
    first, again = (QEFFAutoModelForSequenceClassification.from_pretrained(folder) for _ in range(2))
    first.fine_tune(rows, **run)
    again.fine_tune(rows, **run, resume=True)
    assert tensors_digest(first.model) == tensors_digest(again.model)
