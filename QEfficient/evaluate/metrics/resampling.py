"""What is drawn again in a resample: rows, clusters of rows, or the texts of which the rows are pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.evaluate.metrics.metric import Floats, Weighted
from QEfficient.evaluate.record import Outcome

_BLOCK = 100_000  # weights that are computed with at a time: what a CPU keeps in its cache
_COMPONENTS = 50  # from so many on, groups of pairs that share no text are resampled, and not texts


@dataclass(frozen=True, slots=True)
class Units:
    """The independent units of an outcome.

    Attributes:
        count: How many there are.
        of: Row → its unit, ``(rows,)``; of pairs, row → its two texts, ``(rows, 2)``. ``None``: each row is one.
    """

    count: int
    of: NDArray[np.intp] | None = None

    @property
    def crossed(self) -> bool:
        """Whether a row belongs to two units, so that rows of any two units may depend on each other."""
        return self.of is not None and self.of.ndim == 2

    @property
    def single(self) -> bool:
        """Whether each row is a unit of its own."""
        return self.of is None

    def weights(self, counts: Floats) -> Floats:
        """How often each unit is drawn, ``(resamples, units)`` → how often each row is, ``(resamples, rows)``.

        A pair counts as often as the product of its texts' counts, as in a table of all pairs of the texts that were
        drawn (A. B. Owen: The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007). Pairs of a text with its own
        copy are left out: the data has none.
        """
        if self.of is None:
            return counts
        if self.of.ndim == 1:
            return np.take(counts, self.of, axis=1)
        return np.take(counts, self.of[:, 0], axis=1) * np.take(counts, self.of[:, 1], axis=1)


def units_of(outcome: Outcome) -> Units:
    """What of an outcome is independent of the rest.

    Clusters that the caller named are it, whatever texts their pairs share: he knows what was drawn by chance.

    Pairs that share texts fall into groups that share none with each other. Where there are many such groups, they are
    the units, else the texts are. "Many" counts groups by size: one that holds nearly all pairs makes them few.
    """
    if outcome.clusters is not None:
        return _grouped(np.asarray(outcome.clusters))
    if outcome.pairs is not None and len(outcome):
        groups = _components(outcome.pairs)
        sizes = np.bincount(groups)
        if sizes.sum() ** 2 / (sizes.astype(np.float64) ** 2).sum() >= _COMPONENTS:
            return _grouped(groups)
        texts, places = np.unique(outcome.pairs, return_inverse=True)
        return Units(len(texts), places.reshape(-1, 2))
    return Units(len(outcome))


def _grouped(groups: NDArray[np.intp]) -> Units:
    names, places = np.unique(groups, return_inverse=True)
    return Units(len(names)) if len(names) == len(groups) else Units(len(names), places)


def _components(pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pair → the number of its connected component, where two pairs are connected by a text that both hold."""
    texts, places = np.unique(pairs, return_inverse=True)
    parents = list(range(len(texts)))

    def root(text: int) -> int:
        while parents[text] != text:
            parents[text] = text = parents[parents[text]]
        return text

    ends: list[list[int]] = places.reshape(-1, 2).tolist()
    for one, other in ends:
        parents[root(one)] = root(other)
    return np.array([root(one) for one, _ in ends], np.intp)


def resampled(values: Sequence[Weighted], units: Units, resamples: int, generator: np.random.Generator) -> Floats:
    """Metrics of many resamples of the same rows.

    Args:
        values: The metrics, as functions of weights.
        units: What is drawn, with replacement, as many as there are.
        resamples: How many.
        generator: Of the random numbers.

    Returns:
        ``(metrics, resamples)``.
    """
    draws = (_drawn(units.count, count, generator) for count in _blocks(resamples, units))
    return _each_of(values, units, draws)


def left_out(value: Weighted, units: Units, most: int = 500) -> Floats:
    """A metric without each of the units, one at a time; without groups of units where they are more than ``most``.

    Returns:
        ``(groups,)``.
    """
    groups = min(units.count, most)
    group = np.arange(units.count) % groups
    blocks = np.split(np.arange(groups), np.cumsum(list(_blocks(groups, units)))[:-1])
    draws = ((block[:, None] != group).astype(np.float64) for block in blocks)
    found: Floats = _each_of([value], units, draws)[0]
    return found


def _each_of(values: Sequence[Weighted], units: Units, draws: Iterable[Floats]) -> Floats:
    weights = map(units.weights, draws)
    return np.concatenate([np.stack([value(block) for value in values]) for block in weights], axis=1)


def _blocks(count: int, units: Units) -> Iterator[int]:
    """Sizes of blocks of resamples, so that a block's weights stay in the CPU's cache."""
    step = max(1, _BLOCK // (units.count if units.of is None else max(units.count, len(units.of))))
    for start in range(0, count, step):
        yield min(step, count - start)


def _drawn(units: int, resamples: int, generator: np.random.Generator) -> Floats:
    """How often each of some units is drawn, ``(resamples, units)``; a row of it sums to their number."""
    drawn = generator.integers(0, units, (resamples, units))
    drawn += np.arange(resamples)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)
