"""The order of rows: a pure function of seed and epoch, so that a resumed run and every process see the same one.

transformers' own sampler by length draws on the process's random numbers. Those of a run that was resumed in its second
epoch are others than those of an unbroken one, and those of two processes differ once dropout has drawn on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from QEfficient import settings

if TYPE_CHECKING:
    from QEfficient.train.request import TrainRequest

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


def in_order(
    trainer: type[Any],
    lengths: Sequence[int],
    request: TrainRequest,
    begin: Callable[[int], object] | None = None,
) -> type[Any]:
    """A trainer of transformers that takes rows in the order of :class:`RowOrder`.

    Args:
        trainer: Its class.
        lengths: Of each row: tokens, samples or frames.
        request: Says the seed, how many rows a step has, and whether they are to be about equally long.
        begin: Told the number of an epoch before its first row is taken.
    """
    step = request.batch_size * settings.training_processes()

    class InOrder(trainer):  # type: ignore[misc]
        """See :func:`in_order`."""

        def _get_train_sampler(self, train_dataset: Any = None) -> RowOrder:
            grouped = lengths if request.group_by_length else None
            return RowOrder(grouped, len(lengths), step, request.seed, self._begun)

        def _begun(self) -> int:
            epoch = int(self.state.epoch or 0)
            if begin is not None:
                begin(epoch)
            return epoch

    return InOrder


def by_length(dataset: Any, batch_size: int, drop_last: bool, seed: int = 0, **_: Any) -> Any:
    """Batches of texts of about the same length, as sentence-transformers' trainer takes them.

    Args:
        dataset: Rows with a column ``text``.
        batch_size: Rows of a batch.
        drop_last: Leave out a batch that is not full.
        seed: Of the order, which is another one each epoch.
    """
    from sentence_transformers.base.sampler import DefaultBatchSampler

    lengths = [len(text) for text in dataset["text"]]

    class LengthBatches(DefaultBatchSampler):
        """See :func:`by_length`."""

        def __iter__(self) -> Iterator[list[int]]:
            rows = list(RowOrder(lengths, len(lengths), self.batch_size, self.seed, lambda: self.epoch))
            batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
            return iter([batch for batch in batches if len(batch) == self.batch_size or not self.drop_last])

    return LengthBatches(dataset, batch_size, drop_last, seed=seed)
