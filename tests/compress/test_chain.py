"""One step after the other: what is told of a model goes on with it, into its program and the table of a comparison."""

from pathlib import Path

import numpy as np

from QEfficient import QEFFAutoModelForSequenceClassification
from QEfficient.evaluate import compare
from tests.train import small

ROWS = {"text": small.TEXTS[:16], "label": small.LABELS[:16]}
LIMITS = {"min_cosine": 0.9, "max_difference": None, "min_rank_agreement": None, "min_label_agreement": None}


def test_every_step_of_a_chain_is_told_at_its_end(repo: Path, tmp_path: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    model.fine_tune(ROWS, max_steps=2, batch_size=8, output_dir=tmp_path / "tuned")
    fewer = model.prune_vocabulary(small.TEXTS, eval=ROWS, output_dir=tmp_path / "fewer")
    assert fewer.trained == model.trained
    narrow = fewer.prune(0.2, block=8, data=ROWS, eval=ROWS, output_dir=tmp_path / "narrow")
    assert narrow.trained == model.trained
    small_one = narrow.quantize("int8_weights", eval=ROWS, limits=LIMITS, max_drop={"accuracy": 1.0}, seq_len=32)
    steps = [step["step"] for step in small_one.compressed]
    assert steps == ["prune_vocabulary", "prune", "quantize"]

    saved = QEFFAutoModelForSequenceClassification.from_pretrained(small_one.save_pretrained(tmp_path / "program"))
    assert saved.compressed == small_one.compressed == saved.device_report()["compressed"]
    assert saved.trained == model.trained
    asked = small.tokenizer(narrow.name_or_path)(small.TEXTS[:4], padding=True, return_tensors="np")
    assert np.array_equal(saved.generate(asked)["logits"], small_one.generate(asked)["logits"])
    [row] = compare([saved], ROWS, seconds=None).models
    told = (row.measured.lineage or "").split("; ")
    assert [len(told), told[-1]] == [4, "quantized to int8_weights"] and told[0].startswith("fine-tuned")
