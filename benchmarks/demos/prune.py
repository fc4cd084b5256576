"""30 % of the encoder of a sentiment classifier taken away, and what it costs once the rest has recovered.

    make demo-prune
    python -m benchmarks.demos.prune [--rows N] [--share 0.3] [--steps 240] [--model FOLDER] [--output FOLDER]

The classifier is that of `make demo-sentiment`, fine-tuned whole for one epoch on 8,057 snippets of movie reviews. It
is pruned by what matters least on 1,024 of them, and recovers for 240 steps of 32 rows: ½ cross-entropy of the labels,
½ Kullback-Leibler divergence to the unpruned model. Those are further steps, so it is compared with the unpruned model
after the very same ones. Everything runs on one CPU with one thread; seconds are the process's own. Printed are

- parameters of the encoder and of the whole, and the heads and feed-forward units of each layer;
- what is left of the accuracy on held-out rows before the recovery, and what importance and recovery take;
- accuracy on 1,008 held-out snippets, by programs of onnxruntime: as it was fine-tuned, after the further steps, and
  pruned; the pruned one's difference to both, with its interval and McNemar's p;
- the times that the pruned one predicts as many texts a second: 192 texts a round, the rounds of both taking turns;
  median and least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from benchmarks.demos.sentiment import movies, trained
from QEfficient import QEFFAutoModelForSequenceClassification
from QEfficient.evaluate.answers.models import answering
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.significance import difference

Classifier = QEFFAutoModelForSequenceClassification
ROUND, ROUNDS = 192, 15
HOW = {"batch_size": 32, "learning_rate": 1e-4}


def speed(pruned: Classifier, whole: Classifier, texts: list[str]) -> list[float]:
    """How many times the unpruned model's throughput the pruned one has, in each round."""
    seconds: dict[Classifier, list[float]] = {pruned: [], whole: []}
    for round_ in range(ROUNDS + 2):  # the first two warm up
        for model, own in seconds.items():
            start = time.process_time()
            answering(model).outputs(texts)
            if round_ > 1:
                own.append(time.process_time() - start)
    return [theirs / own for own, theirs in zip(seconds[pruned], seconds[whole], strict=True)]


def main() -> None:
    """Prints what is named above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="of the data; left out, all 10,072")
    parser.add_argument("--share", type=float, default=0.3, help="of the encoder's parameters")
    parser.add_argument("--steps", type=int, default=240, help="to recover by")
    parser.add_argument("--model", type=Path, help="a classifier that was fine-tuned before")
    parser.add_argument("--output", type=Path, help="left out, nothing is kept")
    given = parser.parse_args()
    train, held_out, test = movies(given.rows)
    with tempfile.TemporaryDirectory() as folder:
        output = given.output or Path(folder)
        whole = trained(train, held_out) if given.model is None else Classifier.from_pretrained(given.model)
        cut = whole.prune(given.share, data=train, eval=held_out, output_dir=output / "cut")
        began = time.process_time()
        pruned = whole.prune(
            given.share, data=train, recover=HOW | {"max_steps": given.steps}, output_dir=output / "pruned"
        )
        took = time.process_time() - began
        further = whole.distill(
            layers=whole.config.num_hidden_layers,
            data=train,
            task=train.task,
            max_steps=given.steps,
            output_dir=output / "further",
            **HOW,
        )
        made = pruned.compressed[-1]["made"]
        print(f"pruned {made['share_of_encoder']:.3f} of the encoder, {made['share_of_model']:.3f} of the whole")
        print("heads a layer", made["heads"], "feed-forward units a layer", made["feed_forward"])
        print(f"importance and recovery: {took:.0f} CPU s")
        [lost, *_] = cut.compressed[-1]["metrics"]
        print(f"held out, only cut: {lost['name']} {lost['before']:.4f} before, {lost['after']:.4f} after")
        models = {"fine-tuned": whole, "after further steps": further, "pruned": pruned}
        for model in models.values():
            model.compile(backend="onnxruntime")
        found = {name: model.evaluate(test) for name, model in models.items()}
        accuracy = metrics_of(test.task, ["accuracy"])[0]
        for name, one in found.items():
            gain = difference(accuracy, one.outcome, found["pruned"].outcome)
            told = "" if name == "pruned" else f"; pruned {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
            print(f"{name}: {one['accuracy']}{told}" + (f", McNemar p {gain.p:.2g}" if told else ""))
        ratios = speed(pruned, whole, list(test.columns["text"])[:ROUND])
        told = f"{statistics.median(ratios):.2f}, least {min(ratios):.2f}, of {len(ratios)} rounds"
        print(f"times as fast, texts a CPU second: {told}")


if __name__ == "__main__":
    main()
