"""A tiny model that reads and writes is fine-tuned, compiled, and its program writes torch's tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from QEfficient import QEFFAutoModelForSeq2SeqLM
from QEfficient.errors import InputError, UsageError
from tests.train import language_models as small

pytestmark = pytest.mark.slow

HOW = {"batch_size": 3, "learning_rate": 1e-2, "warmup": 0, "save_steps": 1000}


@pytest.mark.parametrize(("kind", "lora"), [("t5", False), ("bart", True)])
def test_what_was_learnt_is_what_is_compiled(kind: str, lora: bool, tmp_path: Path) -> None:
    folder, reader = tmp_path / "repo", small.tokenizer(ends=True)
    small.model(kind).save_pretrained(folder)
    reader.save_pretrained(folder)
    model = QEFFAutoModelForSeq2SeqLM.from_pretrained(folder)
    rows = list(zip(small.QUESTIONS, small.ANSWERS, strict=True))
    adapters = {"lora": {"r": 8}} if lora else {}
    trained = model.fine_tune(rows, rows, epochs=2 if lora else 30, output_dir=tmp_path / "out", **HOW, **adapters)
    before, after = trained.course.held_out_losses
    assert after < before
    model.compile(ctx_len=16, encoder_ctx_len=16, full_batch_size=4)
    assert model.device_report()["trained"] == json.loads(json.dumps(model.trained))
    module = trained.module.eval()
    for num_beams in (1, 3):
        found = model.translate(small.QUESTIONS, num_beams=num_beams, max_new_tokens=8)
        for question, answer in zip(small.QUESTIONS, found, strict=True):
            batch = reader(question, return_tensors="pt")
            batch.pop("token_type_ids", None)
            theirs = module.generate(**batch, max_new_tokens=8, do_sample=False, num_beams=num_beams)
            ours = model.generate(**batch, max_new_tokens=8, num_beams=num_beams)
            assert ours.tolist() == theirs.tolist()
            assert answer == reader.decode(theirs[0], skip_special_tokens=True)
    if not lora:
        assert model.translate(small.QUESTIONS, max_new_tokens=8) == small.ANSWERS
    model.close()


def test_rows_are_sources_and_targets(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    small.model("t5").save_pretrained(folder)
    small.tokenizer(ends=True).save_pretrained(folder)
    model = QEFFAutoModelForSeq2SeqLM.from_pretrained(folder)
    with pytest.raises(InputError, match="source"):
        model.fine_tune({"prompt": ["what"], "completion": ["one"]}, output_dir=tmp_path / "out")


def test_a_module_in_memory_needs_its_tokenizer() -> None:
    model = QEFFAutoModelForSeq2SeqLM(small.model("t5"))
    with pytest.raises(UsageError, match="tokenizer"):
        model.fine_tune([("one two", "three")])
