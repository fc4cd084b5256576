"""One sentiment classifier, made smaller in every way that there is: quality, speed, memory and disk side by side.

    make compression
    python -m benchmarks.compression [--rows N] [--steps 240] [--seconds 20] [--models FOLDER] [--docs docs/explanation]

The classifier is that of `make demo-prune`: all-MiniLM-L6-v2, trained for one epoch on 8,057 snippets of movie reviews,
and then for 240 further steps, as many as what was pruned has to recover. Every variant answers the same 1,008 test
rows in one process, with `QEfficient.evaluate.compare`; speed is measured in turns, with one thread on one CPU.
`--docs`
gets the table, between the marks of `compression.md`, and the plot beside it. `--models` keeps the trained models, and
finds them again.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from benchmarks.compression_plot import plot
from benchmarks.demos.sentiment import movies, trained
from QEfficient import QEFFAutoModelForSequenceClassification
from QEfficient.errors import VerificationError
from QEfficient.evaluate import compare
from QEfficient.evaluate.comparison.record import ModelComparison
from QEfficient.evaluate.record import Examples

Classifier = QEFFAutoModelForSequenceClassification
HOW: dict[str, Any] = {"batch_size": 32, "learning_rate": 1e-4}
SHARE, LIMIT = 0.3, 128
BEGIN, END = "<!-- the table -->", "<!-- the end of the table -->"


def kept(folder: Path, name: str, make: Callable[[Path], Any]) -> Classifier:
    """A model of an earlier run, or one that is made now, in ``folder/name``."""
    place = folder / name / "model"
    if not place.is_dir():
        make(folder / name)
    return Classifier.from_pretrained(place)


def models(data: tuple[Examples, Examples, Examples], steps: int, folder: Path) -> dict[str, Classifier]:
    """What differs in its weights, by name; nothing is compiled yet."""
    train, held_out, _ = data

    def again(model: Classifier, layers: int, output: Path) -> Classifier:
        how = {**HOW, "task": train.task, "max_steps": steps}
        return model.distill(layers=layers, data=train, output_dir=output, **how)

    tuned = kept(folder, "tuned", lambda output: trained(train, held_out, output_dir=output))
    whole = kept(folder, "further", lambda output: again(tuned, 6, output))
    return {
        "whole": whole,
        "pruned": kept(
            folder,
            "pruned",
            lambda output: tuned.prune(SHARE, data=train, recover=HOW | {"max_steps": steps}, output_dir=output),
        ),
        "3 of 6 layers": kept(folder, "layers", lambda output: again(whole, 3, output)),
        "vocabulary": kept(
            folder, "vocabulary", lambda output: whole.prune_vocabulary(train, min_count=1, output_dir=output)
        ),
        "2:4 zeros": kept(folder, "masked", lambda output: whole.mask("2:4", output_dir=output)),
    }


def programs(found: dict[str, Classifier], texts: list[str]) -> dict[str, Classifier]:
    """Every variant, compiled."""
    whole, pruned = found["whole"], found["pruned"]
    plain = {"whole": whole, "pruned 30 %": pruned, **{name: found[name] for name in list(found)[2:]}}
    for model in plain.values():
        model.compile(backend="onnxruntime")
    on_openvino = Classifier.from_pretrained(whole.name_or_path)
    on_openvino.compile(backend="openvino")
    made = {f"{name}, onnxruntime": model for name, model in plain.items()}
    made |= {
        "8-bit weights, onnxruntime": whole.quantize("int8_weights", backend="onnxruntime"),
        "int8, onnxruntime": whole.quantize("int8", texts=texts, backend="onnxruntime"),
        "whole, OpenVINO": on_openvino,
        "8-bit weights, OpenVINO": whole.quantize("int8_weights", backend="openvino"),
        "int8, OpenVINO": whole.quantize("int8", texts=texts, backend="openvino"),
        "pruned 30 %, 8-bit weights, OpenVINO": pruned.quantize("int8_weights", backend="openvino"),
        "pruned 30 %, int8, onnxruntime": pruned.quantize("int8", texts=texts, backend="onnxruntime"),
    }
    return made


def write(found: ModelComparison, folder: Path) -> None:
    """The table and the plot into the documents."""
    page = folder / "compression.md"
    text = page.read_text(encoding="utf-8")
    table = f"{BEGIN}\n\n{found.to_markdown()}\n\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")
    (folder / "compression.svg").write_text(plot(found), encoding="utf-8")


def main() -> None:
    """Makes what is not there, compares, and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="of the data; left out, all 10,072")
    parser.add_argument("--steps", type=int, default=240, help="further ones, after the epoch")
    parser.add_argument("--seconds", type=float, default=20.0, help="for which each variant's speed is measured")
    parser.add_argument("--models", type=Path, help="where trained models are kept")
    parser.add_argument("--docs", type=Path, help="the folder with compression.md")
    given = parser.parse_args()
    data = movies(given.rows)
    with tempfile.TemporaryDirectory() as folder:
        made = models(data, given.steps, (given.models or Path(folder)).absolute())
        texts = list(data[0].columns["text"])[:256]
        found = compare(programs(made, texts), data[2], metrics="accuracy", seconds=given.seconds)
        print(found)
        try:
            made["whole"].quantize("int4_weights", backend="openvino")
        except VerificationError as error:
            print(error)
    if given.docs is not None:
        write(found, given.docs)


if __name__ == "__main__":
    main()
