"""Run by torchrun, or alone: ``fine_tune`` of the Auto classes, 32 rows a step in all, no dropout; then ``compile``.

python -m torch.distributed.run --nproc_per_node 2 tests/train/methods_in_processes.py FOLDER KIND…

Each process writes what it came to: its weights, its losses and its program's outputs. ``refusals`` in place of a kind
writes how each process was refused what one of them, or all, can't do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification, settings
from QEfficient.errors import QEfficientError
from tests.train import small

TEXTS = [f"this is {word} {number} of it" for number in range(48) for word in ("good", "awful")]  # three steps of 32
CLASSES = {"text": TEXTS, "label": ["positive" if "good" in text else "negative" for text in TEXTS]}
SCORED = {"text": TEXTS, "pair": TEXTS[1:] + TEXTS[:1], "score": [number % 3 / 2 for number in range(len(TEXTS))]}
PAIRS = {"anchor": [f"what is number {number}" for number in range(len(TEXTS))], "positive": TEXTS}

LOSSES = {
    "cosine": "CosineSimilarityLoss",
    "negatives": "MultipleNegativesRankingLoss",
}


def main(kind: str, base: Path) -> None:
    processes, rank = settings.training_processes(), settings.training_rank()
    how: dict[str, Any] = {"epochs": 4, "batch_size": 32 // processes, "learning_rate": 1e-4, "dropout": 0.0}
    how["output_dir"] = base / f"{kind}-{processes}"
    asked = small.tokenizer(base / "repo")(TEXTS[:8], padding=True, return_tensors="pt")
    model: Any
    if kind == "head":
        model = QEFFAutoModelForSequenceClassification.from_pretrained(base / "repo", num_labels=2)
        trained = model.fine_tune(CLASSES, CLASSES, **how)
        model.compile(seq_len=16)
        outputs = model.generate(asked)["logits"]
    elif kind == "reranker":
        model = QEFFAutoModelForSequenceClassification.from_pretrained(base / "repo", num_labels=1)
        trained = model.fine_tune(SCORED, SCORED, task="similarity", **how)
        model.compile(seq_len=32)
        outputs = model.predict([("what is this", text) for text in TEXTS[:8]])
    else:
        model = QEFFAutoModel.from_pretrained(base / "repo", pooling="mean")
        rows = SCORED if kind == "cosine" else PAIRS
        trained = model.fine_tune(rows, rows, loss=LOSSES[kind], **how)
        model.compile(seq_len=16)
        outputs = model.encode(TEXTS[:8])
    weights = {f"weight {name}": tensor.numpy() for name, tensor in trained.module.state_dict().items()}
    losses = [loss for _, loss in trained.course.losses]
    held_out = trained.course.held_out_losses
    np.savez(base / f"{kind}-{processes}-{rank}.npz", outputs=outputs, losses=losses, held_out=held_out, **weights)


def refused(base: Path) -> None:
    """What is wrong in one process only, or in all: each process is told, and none waits for another."""
    rank = settings.training_rank()
    foreign = base / "foreign"
    if rank == 0:
        (foreign / "model").mkdir(parents=True)
    few, turned = {name: column[:10] for name, column in PAIRS.items()}, {**CLASSES, "text": TEXTS[::-1]}
    one_label = {**CLASSES, "label": ["positive"] * len(TEXTS)}
    head = QEFFAutoModelForSequenceClassification.from_pretrained(base / "repo", num_labels=2)
    encoder = QEFFAutoModel.from_pretrained(base / "repo", pooling="mean")
    calls: dict[str, tuple[Any, Any, Path]] = {
        "labels": (head, one_label, base / "labels"),
        "folder": (head, CLASSES, foreign),
        "rows": (head, turned if rank else CLASSES, base / "rows"),
        "few": (encoder, few, base / "few"),
    }
    told = {}
    for name, (model, rows, folder) in calls.items():
        try:
            model.fine_tune(rows, batch_size=16, output_dir=folder)
        except QEfficientError as error:
            told[name] = f"{type(error).__name__}: {error}"
    (base / f"refusals-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        refused(Path(sys.argv[1])) if kind == "refusals" else main(kind, Path(sys.argv[1]))
