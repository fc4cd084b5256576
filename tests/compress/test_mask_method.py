"""``mask`` of the Auto classes: zeros that bring nothing, and say so."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.errors import CompressionRefusedError, OptionError, UsageError
from tests.train import small

ROWS = {"text": small.TEXTS[:12], "label": small.LABELS[:12]}


@pytest.fixture
def model(repo: Path) -> QEFFAutoModelForSequenceClassification:
    module = small.classifier(repo)
    module.config.id2label = {0: "negative", 1: "positive"}
    module.save_pretrained(repo)
    return QEFFAutoModelForSequenceClassification.from_pretrained(repo)


def test_two_of_four_are_zero_and_the_folder_is_an_ordinary_one(
    model: QEFFAutoModelForSequenceClassification, tmp_path: Path
) -> None:
    made = model.mask("2:4", eval=ROWS, max_drop={"accuracy": 1.0}, output_dir=tmp_path / "masked")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "masked" / "model")
    weight = theirs.bert.encoder.layer[0].attention.self.query.weight
    assert ((weight.reshape(-1, 4) == 0).sum(1) == 2).all()
    step = made.compressed[0]
    assert step["step"] == "mask" and "no gain in speed" in step["told"] and step["data"]["eval"]["rows"] == 12
    assert step["made"]["share_zero"] == 0.5 and step["metrics"][0]["name"] == "accuracy"
    made.compile(seq_len=32)
    asked = small.tokenizer(model.name_or_path)(small.TEXTS[:4], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert np.allclose(made.generate(asked)["logits"], theirs(**asked).logits, atol=1e-5)
    assert model.compressed == []


def test_a_share_of_an_embedding_model(repo: Path, tmp_path: Path) -> None:
    made = QEFFAutoModel.from_pretrained(repo, pooling="auto").mask(share=0.25, output_dir=tmp_path / "masked")
    assert made.compressed[0]["made"]["share_zero"] == pytest.approx(0.25, abs=0.01)
    made.compile(seq_len=32)
    assert made.encode(small.TEXTS[:2]).shape[0] == 2


def test_what_is_refused_leaves_no_folder(model: QEFFAutoModelForSequenceClassification, tmp_path: Path) -> None:
    told = iter([1.0, 0.5])
    with pytest.raises(CompressionRefusedError, match="fewer zeros"):
        model.mask("2:4", score=lambda _: next(told), max_drop={"score": 0.1}, output_dir=tmp_path / "masked")
    with pytest.raises(UsageError, match="neither"):
        model.mask(output_dir=tmp_path / "masked")
    with pytest.raises(OptionError, match="N:M"):
        model.mask("4:2", output_dir=tmp_path / "masked")
    with pytest.raises(OptionError, match="share"):
        model.mask(share=1.0, output_dir=tmp_path / "masked")
    assert not (tmp_path / "masked").exists()
