"""Which texts come together in a batch: those of about the same length, so that little of it is padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator

_BATCHES = 16
"""So many batches of texts drawn by chance are sorted by length together."""


def by_length(dataset: Any, batch_size: int, drop_last: bool, seed: int = 0, **_: Any) -> Any:
    """Batches as sentence-transformers' trainer takes them; another order each epoch.

    Args:
        dataset: Rows with a column ``text``.
        batch_size: Rows of a batch.
        drop_last: Leave out a batch that is not full.
        seed: Of the order.
    """
    import torch
    from sentence_transformers.base.sampler import DefaultBatchSampler

    lengths = [len(text) for text in dataset["text"]]

    class LengthBatches(DefaultBatchSampler):
        """See :func:`by_length`."""

        def __iter__(self) -> Iterator[list[int]]:
            batches = grouped(lengths, self.batch_size, torch.Generator().manual_seed(self.seed + self.epoch))
            return iter([batch for batch in batches if len(batch) == self.batch_size or not self.drop_last])

    return LengthBatches(dataset, batch_size, drop_last, seed=seed)


def grouped(lengths: list[int], batch_size: int, generator: Generator) -> list[list[int]]:
    """Every row once, in batches of rows of about the same length, in an order drawn by chance.

    Args:
        lengths: Of the rows.
        batch_size: Rows of a batch; one batch may have fewer.
        generator: Of the random numbers.
    """
    import torch

    order = torch.randperm(len(lengths), generator=generator).tolist()
    size = batch_size * _BATCHES
    batches = []
    for start in range(0, len(order), size):
        near = sorted(order[start : start + size], key=lengths.__getitem__)
        batches += [near[first : first + batch_size] for first in range(0, len(near), batch_size)]
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]
