"""Tests of differences beside scipy's, and differences of outcomes that are alike, unlike or hold a NaN."""

from __future__ import annotations

import numpy as np
import pytest

from QEfficient.errors import InputError
from QEfficient.evaluate.metrics.catalogue import METRICS, metrics_of
from QEfficient.evaluate.metrics.significance import PairedDifference, difference, holm
from QEfficient.evaluate.record import Outcome
from tests.evaluate.simulated import Rows, Simulation, accuracy, correlation, macro_f1, ndcg, pairs


def between(first: Outcome, second: Outcome, name: str, **options: int) -> PairedDifference:
    [metric] = metrics_of(first.task, [name])
    return difference(metric, first, second, **options)


def labels(*given: list[int]) -> list[Outcome]:
    return [Outcome("text-classification", np.zeros(len(one), int), np.array(one)) for one in given]


def test_mcnemar_exact() -> None:
    from scipy.stats import binomtest

    found = between(*labels([0] * 70 + [1] * 20 + [0] * 10, [0] * 70 + [0] * 20 + [1] * 10), "accuracy")
    assert (found.better, found.worse) == (20, 10)
    assert found.value == pytest.approx(0.1)
    assert found.p == binomtest(20, 30).pvalue
    assert found.low < 0 < found.value < found.high


def test_no_row_changed() -> None:
    found = between(*labels([0, 1] * 50, [0, 1] * 50), "accuracy")
    assert (found.value, found.p, found.better, found.worse) == (0.0, 1.0, 0, 0)
    assert -0.04 < found.low < 0 < found.high < 0.04  # that none of 100 changed does not say that none ever will


def test_flipped_signs_as_scipy() -> None:
    from scipy.stats import permutation_test

    for seed in range(3):
        first, second = ndcg(Rows(60)).make(np.random.default_rng(seed))
        [metric] = metrics_of("retrieval", ["ndcg@10"])
        theirs = permutation_test(
            (metric.each(second), metric.each(first)),
            lambda x, y, axis: (x - y).mean(axis=axis),
            permutation_type="samples",
            n_resamples=9_999,
            rng=0,
        )
        found = between(first, second, "ndcg@10")
        assert found.value == pytest.approx(theirs.statistic, abs=1e-12)
        assert found.p == pytest.approx(theirs.pvalue, abs=0.03)
        assert found.better == (metric.each(second) > metric.each(first)).sum()


@pytest.mark.parametrize(
    "simulation",
    [
        accuracy(Rows(60, clustered=True), 0.7),
        macro_f1(Rows(200)),
        correlation(Rows(100), "spearman"),
        pairs(20, "pearson", node=0.5, noise=1.0),
    ],
)
def test_the_other_way_round_is_the_negative(simulation: Simulation) -> None:
    first, second = simulation.make(np.random.default_rng(0))
    one, other = between(first, second, simulation.metric), between(second, first, simulation.metric)
    assert (one.value, one.better, one.worse) == (-other.value, other.worse, other.better)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p == pytest.approx(other.p)
    assert one.low < one.value < one.high


def test_a_model_that_is_better_is_found_to_be() -> None:
    rng = np.random.default_rng(0)
    right = rng.normal(size=300)
    good, bad = (Outcome("regression", right, right + noise * rng.normal(size=300)) for noise in (0.5, 1.5))
    for metric in METRICS["regression"]:
        found = difference(metric, bad, good)
        assert found.p < 0.01, metric.name
        assert found.better > found.worse, metric.name
        assert (found.value > 0) == metric.higher_is_better, metric.name
        assert found.low * found.high > 0, metric.name


def test_the_same_answers_do_not_differ() -> None:
    for simulation in (macro_f1(Rows(50)), ndcg(Rows(50)), pairs(10, "pearson", node=1.0, noise=0.0)):
        first, _ = simulation.make(np.random.default_rng(0))
        for metric in METRICS[first.task]:
            found = difference(metric, first, first)
            assert (found.value, found.p, found.better, found.worse) == (0.0, 1.0, 0, 0), metric.name


def test_copies_of_rows_prove_nothing_more() -> None:
    first, second = labels([0] * 12 + [1] * 8, [0] * 10 + [1, 1] + [0] * 8)
    alone = between(first, second, "accuracy")
    copied = [
        Outcome(one.task, np.repeat(one.right, 9), np.repeat(one.given, 9), clusters=np.repeat(np.arange(20), 9))
        for one in (first, second)
    ]
    assert between(*copied, "accuracy").p == pytest.approx(alone.p, abs=0.03)


def test_nan_has_no_difference() -> None:
    right = np.arange(5.0)
    found = between(Outcome("similarity", right, right), Outcome("similarity", right, right * np.nan), "spearman")
    assert np.isnan([found.value, found.low, found.high, found.p]).all()
    one_row = [Outcome("similarity", right[:1], right[:1])] * 2
    assert np.isnan(between(*one_row, "pearson").p)


def test_other_rows_are_refused() -> None:
    one, other = labels([0, 1], [0, 1, 1])
    with pytest.raises(InputError, match="(?s)same rows.*2 rows.*3"):
        between(one, other, "accuracy")
    rankings = [Outcome("retrieval", [{0: grade}], [{0: 1.0}]) for grade in (1, 2)]
    with pytest.raises(InputError, match="same rows"):
        between(*rankings, "ndcg@10")


def test_holm() -> None:
    assert holm([]) == ()
    assert holm([0.04]) == (0.04,)
    assert holm([0.03, 0.01, 0.02, 0.9]) == pytest.approx((0.06, 0.04, 0.06, 0.9))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    found = holm([0.02, float("nan"), 0.5])
    assert found[::2] == (0.04, 0.5) and np.isnan(found[1])
