"""Intervals hold the true value in 93 to 97 % of 1,000 simulated sets; equals "differ" in 6 % of them at most.

The number of rows, of clusters of 1 to 9 rows, or of texts of which the rows are all pairs, stands with each. Resamples
are fewer than a user's, to save time: that costs an interval some tenths of a percent. All sets together take about a
minute of a CPU, which is why they are part of the sweep.
"""

from __future__ import annotations

import numpy as np
import pytest

from QEfficient.evaluate.metrics.intervals import metric_values
from QEfficient.evaluate.metrics.significance import difference
from tests.evaluate.simulated import Rows, Simulation, accuracy, correlation, macro_f1, ndcg, pairs

SETS = 1_000
INTERVALS: dict[str, Simulation] = {
    "accuracy of 0.9, 200 rows": accuracy(Rows(200), 0.9),
    "macro F1, 300 rows": macro_f1(Rows(300)),
    "Spearman, 100 rows": correlation(Rows(100), "spearman"),
    "Pearson, 100 rows": correlation(Rows(100), "pearson"),
    "nDCG, 100 queries": ndcg(Rows(100)),
    "accuracy of 0.9, 60 clusters": accuracy(Rows(60, clustered=True), 0.9),
    "macro F1, 60 clusters": macro_f1(Rows(60, clustered=True)),
    "Pearson, 60 clusters": correlation(Rows(60, clustered=True), "pearson"),
    "Pearson, pairs of 50 texts": pairs(50, "pearson", node=0.5, noise=1.0),
}
EQUALS: dict[str, Simulation] = {
    "McNemar, 200 rows": accuracy(Rows(200), 0.8),
    "macro F1, 200 rows": macro_f1(Rows(200)),
    "Spearman, 100 rows": correlation(Rows(100), "spearman"),
    "nDCG, 100 queries": ndcg(Rows(100)),
    "accuracy, 60 clusters": accuracy(Rows(60, clustered=True), 0.8),
    "Pearson, 60 clusters": correlation(Rows(60, clustered=True), "pearson"),
    "Pearson, pairs of 50 texts": pairs(50, "pearson", node=0.5, noise=1.0),
}


def held(simulation: Simulation, sets: int, resamples: int) -> float:
    """In what share of sets the interval holds the true value."""
    rng, hits = np.random.default_rng(1), 0
    for seed in range(sets):
        [figure] = metric_values(simulation.make(rng)[0], [simulation.of], resamples=resamples, seed=seed)
        hits += figure.low <= simulation.truth <= figure.high
    return hits / sets


def differed(simulation: Simulation, sets: int, resamples: int) -> float:
    """In what share of sets two models of equal quality differ with p < 0.05."""
    rng, hits = np.random.default_rng(1), 0
    for seed in range(sets):
        hits += difference(simulation.of, *simulation.make(rng), resamples=resamples, seed=seed).p < 0.05
    return hits / sets


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.parametrize("name", INTERVALS)
def test_intervals_hold_the_true_value(name: str) -> None:
    assert 0.93 <= held(INTERVALS[name], SETS, resamples=400) <= 0.97


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.parametrize("name", EQUALS)
def test_equals_seldom_differ(name: str) -> None:
    assert differed(EQUALS[name], SETS, resamples=200) <= 0.06
