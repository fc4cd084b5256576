"""Text generation with SmolLM2-135M on this machine, beside transformers in float32: tokens a second.

    python benchmarks/generation.py [--rounds 5]

One row: a prompt of 40 tokens, 128 new ones. Eight rows: prompts of 10 to 200 tokens, 64 new ones each. Both libraries
get the same ids, ignore the end of text, and take turns; a ratio is that of two runs one after the other. Beside them
stands what memory allows: each step of one row reads all weights once, so their bytes over the memory's bandwidth bound
its rate.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.side_by_side.writing import cases
from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.backends.host import processor, usable_cpus
from tests import smollm2

_ONE, _EIGHT = cases.CASES["A"], cases.CASES["C"]
Writer = Callable[[dict[str, torch.Tensor], int], torch.Tensor]  # a batch, new tokens → the whole ids
CASES = {"one row": (_ONE.lengths, _ONE.new), "eight rows": (_EIGHT.lengths, _EIGHT.new)}
"""Name → tokens of each prompt, and how many new ones."""


def batch(lengths: tuple[int, ...], pad: int) -> dict[str, torch.Tensor]:
    """Prompts of these lengths out of real texts, padded on the left."""
    rows = cases.prompts(lengths)
    width = max(lengths)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def bandwidth() -> float:
    """Bytes a second that all CPUs read together: the best of five sums over 500 MB."""
    numbers = torch.ones(125_000_000)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        numbers.sum()
        times.append(time.perf_counter() - start)
    return numbers.nbytes / min(times)


def seconds(write: Writer, inputs: dict[str, torch.Tensor], new: int) -> tuple[float, torch.Tensor]:
    """How long one run takes, and the new ids."""
    start = time.perf_counter()
    ids = write(inputs, new)
    return time.perf_counter() - start, ids[:, inputs["input_ids"].shape[1] :]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    folder = smollm2.folder()
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ours = QEFFAutoModelForCausalLM.from_pretrained(folder)
    ours.compile()

    def by_transformers(inputs: dict[str, torch.Tensor], new: int) -> torch.Tensor:
        with torch.inference_mode():
            return theirs.generate(**inputs, do_sample=False, max_new_tokens=new, min_new_tokens=new)

    def by_us(inputs: dict[str, torch.Tensor], new: int) -> torch.Tensor:
        return ours.generate(**inputs, do_sample=False, max_new_tokens=new, min_new_tokens=new)

    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {processor()}, {usable_cpus()} CPUs")
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "onnxruntime")))
    weights = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    print(f"memory: {bandwidth() / 1e9:.1f} GB/s; weights {weights / 1e6:.0f} MB: ", end="")
    print(f"at most {bandwidth() / weights:.1f} tokens/s in one row\n")
    print("| | transformers, tokens/s | QEfficient, tokens/s | ratio, median | least | same tokens |\n|" + "---|" * 6)
    for name, (lengths, new) in CASES.items():
        inputs = batch(lengths, pad=2)
        by_us(inputs, 4), by_transformers(inputs, 4)
        taken = [(*seconds(by_transformers, inputs, new), *seconds(by_us, inputs, new)) for _ in range(rounds)]
        same = np.mean([float((one[1] == one[3]).float().mean()) for one in taken])
        tokens = len(lengths) * new
        ratios = [one[0] / one[2] for one in taken]
        rates = [tokens / statistics.median(one[place] for one in taken) for place in (0, 2)]
        print(
            f"| {name} | {rates[0]:.1f} | {rates[1]:.1f} | {statistics.median(ratios):.2f} × | {min(ratios):.2f} × "
            f"| {same:.0%} |"
        )


if __name__ == "__main__":
    main()
