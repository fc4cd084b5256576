"""Sets of rows of which the true figure is known, for how often intervals hold it and how often equals seem to differ.

A set of two models has the same rows twice, answered with errors that are independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.record import Outcome

Array = np.ndarray[Any, Any]
Make = Callable[[np.random.Generator], tuple[Outcome, Outcome]]

CLASSES = np.array([0.45, 0.3, 0.15, 0.1])
RHO = 0.6


@dataclass(frozen=True)
class Simulation:
    """A way to make sets, with the metric and its true value."""

    task: str
    metric: str
    truth: float
    make: Make

    @property
    def of(self) -> Any:
        [metric] = metrics_of(self.task, [self.metric])
        return metric


@dataclass(frozen=True)
class Rows:
    """Independent rows, or rows in clusters of 1 to 9 that share half of the variance of what is drawn."""

    count: int
    clustered: bool = False

    def places(self, rng: np.random.Generator) -> Array:
        sizes = rng.integers(1, 10, self.count) if self.clustered else np.ones(self.count, int)
        return np.repeat(np.arange(self.count), sizes)

    def normal(self, rng: np.random.Generator, places: Array, columns: int = 1) -> Array:
        """Standard normal numbers, ``(rows, columns)``."""
        own = rng.standard_normal((len(places), columns))
        if not self.clustered:
            return own
        return (own + rng.standard_normal((self.count, columns))[places]) / np.sqrt(2)

    def outcomes(self, task: str, places: Array, right: Any, *answered: Any, **more: Any) -> tuple[Outcome, Outcome]:
        clusters = places if self.clustered else None
        first, second = (Outcome(task, right, one, clusters=clusters, **more) for one in answered)
        return first, second


def accuracy(rows: Rows, share: float) -> Simulation:
    def make(rng: np.random.Generator) -> tuple[Outcome, Outcome]:
        places = rows.places(rng)
        wrong = (rows.normal(rng, places, 2) > norm.ppf(share)).astype(int)
        return rows.outcomes("text-classification", places, np.zeros(len(places), int), *wrong.T)

    return Simulation("text-classification", "accuracy", share, make)


def macro_f1(rows: Rows, known: float = 0.75) -> Simulation:
    """Labels of unequal frequency; what is not known is guessed by these frequencies."""
    edges = norm.ppf(np.cumsum(CLASSES)[:-1])

    def make(rng: np.random.Generator) -> tuple[Outcome, Outcome]:
        places = rows.places(rng)
        right = np.searchsorted(edges, rows.normal(rng, places)[:, 0])
        sure = rows.normal(rng, places, 2) < norm.ppf(known)
        guesses = np.searchsorted(edges, rng.standard_normal((len(places), 2)))
        answered = np.where(sure, right[:, None], guesses)
        return rows.outcomes("text-classification", places, right, *answered.T)

    table = known * np.diag(CLASSES) + (1 - known) * np.outer(CLASSES, CLASSES)
    truth = float((2 * np.diag(table) / (table.sum(0) + table.sum(1))).mean())
    return Simulation("text-classification", "macro_f1", truth, make)


def correlation(rows: Rows, metric: str, rho: float = RHO) -> Simulation:
    def make(rng: np.random.Generator) -> tuple[Outcome, Outcome]:
        places = rows.places(rng)
        right, *errors = rows.normal(rng, places, 3).T
        answered = [rho * right + np.sqrt(1 - rho**2) * error for error in errors]
        return rows.outcomes("similarity", places, right, *answered)

    truth = rho if metric == "pearson" else 6 / np.pi * float(np.arcsin(rho / 2))
    return Simulation("similarity", metric, truth, make)


def ndcg(rows: Rows) -> Simulation:
    """One relevant document a query, at a rank that is geometric: often 1, now and then beyond 10."""
    chances = 0.3 * 0.7 ** np.arange(30)
    edges = norm.ppf(np.cumsum(chances))
    gains = np.where(np.arange(31) < 10, 1 / np.log2(np.arange(31) + 2), 0.0)

    def make(rng: np.random.Generator) -> tuple[Outcome, Outcome]:
        places = rows.places(rng)
        ranks = np.searchsorted(edges, rows.normal(rng, places, 2))
        answered = [[{0: -rank + 0.5, **TEN} for rank in one] for one in ranks.T.tolist()]
        return rows.outcomes("retrieval", places, [{0: 1}] * len(places), *answered)

    truth = float((gains[:30] * chances).sum())
    return Simulation("retrieval", "ndcg@10", truth, make)


TEN = {place + 1: -float(place) for place in range(12)}


def pairs(texts: int, metric: str, node: float, noise: float) -> Simulation:
    """All pairs of some texts, of which each has six features and one number that adds to all its similarities."""
    first, second = np.triu_indices(texts, 1)
    variance = 1 + 2 * node**2 + noise**2

    def likeness(features: Array, own: Array, errors: Array) -> Array:
        products = (features[first] * features[second]).sum(1) / np.sqrt(6)
        return products + node * (own[first] + own[second]) + noise * errors

    def near(right: Array, rng: np.random.Generator) -> Array:
        return RHO * right + np.sqrt(1 - RHO**2) * rng.standard_normal(right.shape)

    def make(rng: np.random.Generator) -> tuple[Outcome, Outcome]:
        drawn = [rng.standard_normal(shape) for shape in ((texts, 6), (texts,), (len(first),))]
        right = likeness(*drawn)
        one, other = (
            Outcome("similarity", right, likeness(*(near(each, rng) for each in drawn)), pairs=both)
            for both in [np.stack([first, second], axis=1)] * 2
        )
        return one, other

    # Products of features correlate by the square of how the features do.
    truth = (RHO**2 + RHO * (2 * node**2 + noise**2)) / variance
    return Simulation("similarity", metric, truth, make)
