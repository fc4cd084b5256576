"""What one more token costs on onnxruntime as a context is longer, and as more of it is used: SmolLM2-135M, one row.

    python benchmarks/context_length.py [--steps 60] [--threads 0]

A cache is compiled for so many positions, and read as far as it is used. So a token at position 100 should cost the
same whatever the cache's length; what is used more costs more. The programs take turns, a step each. ``--threads 1``
counts the CPU time of one thread, which moves less than milliseconds do when the machine has other work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from tests import smollm2

CASES = ((256, 100), (4096, 100), (4096, 1000), (4096, 4000))
"""Positions of a cache, and how many of them are used."""
CHUNK = 256


def opened(model: QEFFAutoModelForCausalLM, context: int) -> SessionDecoder:
    """A session of the model that is compiled for so many positions."""
    model.compile(ctx_len=context, full_batch_size=1, prefill_seq_len=CHUNK, verify="off", backend="onnxruntime")
    loaded: Any = model._need_loaded()
    return SessionDecoder(loaded.backend.open(loaded.program), loaded.facts)


def step(decoder: SessionDecoder, used: int, clock: Callable[[], float]) -> float:
    """Milliseconds of one token behind so many."""
    start = clock()
    decoder.decode([Chunk(0, [used % 1000], used)])
    return (clock() - start) * 1000


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=0, help="CPUs of a run; 0: all")
    chosen = parser.parse_args()
    if chosen.threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.threads])
    clock = time.process_time if chosen.threads == 1 else time.perf_counter
    model = QEFFAutoModelForCausalLM.from_pretrained(smollm2.folder())
    decoders = {context: opened(model, context) for context in {context for context, _ in CASES}}
    for context, decoder in decoders.items():
        for start in range(0, max(used for size, used in CASES if size == context), CHUNK):
            decoder.prefill([Chunk(0, [number % 1000 for number in range(CHUNK)][: context - start], start)])
    taken: dict[tuple[int, int], list[float]] = {case: [] for case in CASES}
    for _ in range(chosen.steps):
        for context, used in CASES:
            step(decoders[context], used, clock)  # the first reads what the one before it left in the CPU's cache
            taken[context, used].append(step(decoders[context], used, clock))
    least = {case: min(times) for case, times in taken.items()}
    print("| positions | used | ms, least | ms, median | of the first, least |\n|" + "---|" * 5)
    for (context, used), times in taken.items():
        ratio = least[context, used] / least[CASES[0]]
        print(f"| {context} | {used} | {min(times):.2f} | {statistics.median(times):.2f} | {ratio:.2f} × |")


if __name__ == "__main__":
    main()
