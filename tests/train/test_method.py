"""``fine_tune`` of the Auto classes: the object, its program and what is saved of it have the new weights then."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoModelForSequenceClassification

from QEfficient import (
    QEFFAutoModel,
    QEFFAutoModelForQuestionAnswering,
    QEFFAutoModelForSequenceClassification,
    QEFFAutoModelForTokenClassification,
)
from QEfficient.errors import InputError, LoadError, OptionError, UsageError
from QEfficient.source.identity import tensors_digest
from QEfficient.train.save import save_model
from tests.train import small

ROWS = {"text": small.TEXTS, "label": small.LABELS}
PAIRS = [{"anchor": f"what is {number} of {number}", "positive": text} for number, text in enumerate(small.TEXTS)]
QUICK: dict[str, Any] = {"batch_size": 8, "learning_rate": 3e-3}


def test_a_classifier_is_trained_and_compiled(repo: Path, tmp_path: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    assert model.trained is None
    with pytest.raises(LoadError, match="classifier"):  # the files have no head
        _ = model.model
    trained = model.fine_tune(ROWS, ROWS, epochs=4, **QUICK)
    before, after = trained.course.held_out_losses or (0.0, 0.0)
    assert after < before
    assert model.config.id2label == {0: "negative", 1: "positive"}
    model.compile(seq_len=16)
    asked = small.tokenizer(repo)(small.TEXTS[:4], padding=True, return_tensors="pt")
    expected = trained.module(**asked).logits.detach().numpy()
    assert np.allclose(model.generate(asked)["logits"], expected, atol=1e-5)

    saved = QEFFAutoModelForSequenceClassification.from_pretrained(model.save_pretrained(tmp_path / "program"))
    assert np.allclose(saved.generate(asked)["logits"], expected, atol=1e-5)
    assert saved.config.id2label == {0: "negative", 1: "positive"}
    assert saved.trained == model.trained == json.loads(json.dumps(trained.facts()))
    assert saved.device_report()["trained"] == model.device_report()["trained"] == saved.trained
    saved.trained["data"]["rows"] = 0  # the caller's own
    told = saved._need_loaded().program.manifest.key["trained"]
    assert told["data"]["rows"] == 40 and told["data"]["digest"] == trained.data.digest and told["from"] == str(repo)
    assert told["how"]["epochs"] == 4.0 and told["held_out_loss"] == [before, after]

    again = AutoModelForSequenceClassification.from_pretrained(save_model(trained, tmp_path / "model"))
    assert tensors_digest(again) == tensors_digest(trained.module)


def test_an_embedding_model_is_trained_and_the_old_program_retired(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    first = model.compile(seq_len=32)
    before = model.encode(small.TEXTS[:4])
    limit = model.max_seq_length
    trained = model.fine_tune(PAIRS, epochs=2, max_length=8, **QUICK)
    assert model.max_seq_length == trained.wrapper.max_seq_length == limit  # max_length is the training's
    with pytest.raises(UsageError, match="not compiled"):
        model.encode(small.TEXTS[:4])
    assert model.compile(seq_len=32) != first
    after = model.encode(small.TEXTS[:4])
    assert np.abs(after - before).max() > 1e-3
    folder = trained.output_dir / "model"
    assert np.allclose(after, SentenceTransformer(str(folder), device="cpu").encode(small.TEXTS[:4]), atol=1e-5)
    twin = pickle.loads(pickle.dumps(model))
    assert np.allclose(twin.encode(small.TEXTS[:4]), after, atol=1e-6)


def test_a_reranker_is_trained(repo: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=1)
    trained = model.fine_tune(small.graded(), epochs=2, **QUICK)
    model.compile(seq_len=32)
    asked = [("what is 3 of 3", text) for text in small.TEXTS[:4]]
    expected = CrossEncoder(str(trained.output_dir / "model"), device="cpu").predict(asked)
    assert np.allclose(model.predict(asked), expected, atol=1e-5)


def test_words_and_answers_are_trained_on(repo: Path) -> None:
    tagged = [{"words": ["anna", "lives", "here"], "ner": ["P", "O", "O"]}] * 8
    tagger = QEFFAutoModelForTokenClassification.from_pretrained(repo, num_labels=2)
    tagger.fine_tune(tagged, columns={"tags": "ner"}, max_steps=2, **QUICK)
    assert tagger.config.id2label == {0: "O", 1: "P"}
    asked = [{"question": "who", "context": "anna lives here", "answers": {"text": ["anna"], "answer_start": [0]}}] * 8
    reader = QEFFAutoModelForQuestionAnswering.from_pretrained(repo)
    assert reader.fine_tune(asked, max_steps=2, **QUICK).course.steps == 2


def test_a_module_of_the_callers_stays_as_it_is(repo: Path) -> None:
    module = small.classifier(repo)
    before = tensors_digest(module)
    model = QEFFAutoModelForSequenceClassification(module)
    with pytest.raises(UsageError, match="tokenizer"):
        model.fine_tune(ROWS, max_steps=1)
    trained = model.fine_tune(ROWS, max_steps=2, tokenizer=small.tokenizer(repo), **QUICK)
    assert tensors_digest(module) == before != tensors_digest(trained.module) == tensors_digest(model.model)


def test_it_can_be_trained_again(repo: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    first = model.fine_tune(ROWS, ROWS, max_steps=5, **QUICK)
    second = model.fine_tune(ROWS, ROWS, max_steps=5, **QUICK)
    assert first.course.held_out_losses and second.course.held_out_losses
    assert second.course.held_out_losses[0] == pytest.approx(first.course.held_out_losses[1], abs=1e-5)
    assert first.output_dir != second.output_dir


def test_the_same_call_finds_its_run_again(repo: Path) -> None:
    def train(**more: Any) -> Any:
        model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
        return model.fine_tune(ROWS, max_steps=3, save_steps=2, **QUICK, **more)

    first, second = train(), train(resume=True)
    assert first.output_dir == second.output_dir and second.course.steps == 3
    assert tensors_digest(first.module) == tensors_digest(second.module)


def test_rows_that_are_held_out_from_nothing_are_told(repo: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    others = {"text": small.TEXTS[:8], "label": small.LABELS[:8]}
    data = model.fine_tune(ROWS, others, max_steps=1, **QUICK).data
    assert data.held_out_digest not in (None, data.digest) and "held-out rows are those" not in caplog.text
    data = model.fine_tune(ROWS, ROWS, max_steps=1, **QUICK).data
    assert data.held_out_digest == data.digest and "held-out rows are those that were trained on" in caplog.text
    assert model.fine_tune(ROWS, max_steps=1, **QUICK).data.held_out_digest is None


def test_what_can_not_be_trained(repo: Path, tmp_path: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    with pytest.raises(OptionError, match="Did you mean 'epochs'"):
        model.fine_tune(ROWS, epoch=1)
    with pytest.raises(OptionError, match="(?s)score='accuracy'.*function.*eval="):
        model.fine_tune(ROWS, ROWS, score="accuracy")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="(?s)score=0.5"):
        model.distill(layers=1, data=ROWS, score=0.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="num_labels=3"):
        model.fine_tune({"text": list("abc"), "label": list("xyz")})
    encoder = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    encoder.compile(seq_len=16)
    saved = QEFFAutoModel.from_pretrained(encoder.save_pretrained(tmp_path / "program"))
    assert saved.trained is None and "trained" not in saved.device_report()
    with pytest.raises(UsageError, match="saved program"):
        saved.fine_tune(PAIRS)
