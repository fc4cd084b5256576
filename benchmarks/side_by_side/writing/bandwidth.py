"""How fast this machine's memory is read: three probes, with one thread and with all.

python -m benchmarks.side_by_side.writing.bandwidth THREADS        # prints JSON
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

SIZE = 500_000_000  # bytes: far more than any cache
TIMES = 5
WIDTH = 576  # columns of the matrix


def probes(threads: int, size: int = SIZE) -> dict[str, float]:
    """Bytes a second of each probe, the best of :data:`TIMES`.

    Args:
        threads: CPUs that work together.
        size: Bytes of what is read.
    """
    torch.set_num_threads(threads)
    numbers = torch.ones(size // 4 // WIDTH, WIDTH)
    target, vector = torch.empty_like(numbers), torch.ones(WIDTH)
    return {
        "copy, read and write": 2 * numbers.nbytes / _least(lambda: target.copy_(numbers)),
        "sum, read": numbers.nbytes / _least(numbers.sum),
        "matrix × vector, read": numbers.nbytes / _least(lambda: numbers @ vector),
    }


def _least(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


if __name__ == "__main__":
    print(json.dumps({str(threads): probes(threads) for threads in sorted({1, int(sys.argv[1])})}))
