"""The order of rows: a pure function of seed and epoch, so that a resumed run and every process see the same one.

transformers' own sampler by length draws on the process's random numbers. Those of a run that was resumed in its second
epoch are others than those of an unbroken one, and those of two processes differ once dropout has drawn on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

_BATCHES = 50
"""So many batches are sorted by length together: the more, the less padding; the fewer, the more chance."""


class RowOrder:
    """A sampler for torch's ``DataLoader``: the rows of an epoch in a random order, those of a step about equally long.

    Args:
        lengths: Tokens of each row; ``None`` leaves the order to chance alone.
        rows: How many there are.
        step: Rows of a step, of all processes together.
        seed: Of the order.
        epoch: Gives the number of the epoch that begins.
    """

    def __init__(
        self, lengths: Sequence[int] | None, rows: int, step: int, seed: int, epoch: Callable[[], int]
    ) -> None:
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._rows, self._step, self._seed, self._epoch = rows, step, seed, epoch

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self._seed, self._epoch()])
        order = random.permutation(self._rows)
        if self._lengths is None:
            yield from order.tolist()
            return
        part = self._step * _BATCHES
        parts = [order[start : start + part] for start in range(0, len(order), part)]
        order = np.concatenate([one[np.argsort(-self._lengths[one], kind="stable")] for one in parts])
        whole = len(order) // self._step
        steps = order[: whole * self._step].reshape(whole, self._step)
        yield from steps[random.permutation(whole)].ravel().tolist()
        yield from order[whole * self._step :].tolist()  # the only step that is not full comes last
