"""What is resampled, and intervals of outcomes that are small, constant or hold a NaN."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from QEfficient.errors import InputError, OptionError
from QEfficient.evaluate.metrics.catalogue import METRICS, metrics_of
from QEfficient.evaluate.metrics.intervals import metric_values, wilson
from QEfficient.evaluate.metrics.resampling import Units, left_out, resampled, units_of
from QEfficient.evaluate.record import MetricValue, Outcome
from tests.evaluate.simulated import Rows, correlation, macro_f1, ndcg, pairs


def one(outcome: Outcome, name: str, **options: int) -> MetricValue:
    [figure] = metric_values(outcome, metrics_of(outcome.task, [name]), **options)
    return figure


def of(make: object, seed: int = 0) -> Outcome:
    return make.make(np.random.default_rng(seed))[0]  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------- units


def test_rows_clusters_and_texts_are_units() -> None:
    numbers = np.arange(6.0)
    assert units_of(Outcome("similarity", numbers, numbers)) == Units(6)
    alone = Outcome("similarity", numbers, numbers, clusters=np.array([5, 3, 8, 1, 0, 2]))
    assert units_of(alone) == Units(6)
    clustered = units_of(Outcome("similarity", numbers, numbers, clusters=np.array([7, 7, 2, 2, 2, 9])))
    assert (clustered.count, clustered.of.tolist()) == (3, [1, 1, 0, 0, 0, 2])
    chain = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0]])
    texts = units_of(Outcome("similarity", numbers, numbers, pairs=chain))
    assert texts.crossed and texts.count == 6


def test_many_groups_of_pairs_are_units_themselves() -> None:
    chains = np.array([[3 * group + step, 3 * group + step + 1] for group in range(80) for step in (0, 1)])
    numbers = np.arange(160.0)
    units = units_of(Outcome("similarity", numbers, numbers, pairs=chains))
    assert not units.crossed and units.count == 80
    assert units.of.tolist() == np.repeat(np.arange(80), 2).tolist()
    # one group that holds most pairs makes them few, however many others there are
    star = np.array([[0, place] for place in range(1, 400)])
    many = np.concatenate([star, chains + 1_000])
    numbers = np.arange(float(len(many)))
    assert units_of(Outcome("similarity", numbers, numbers, pairs=many)).crossed


def test_weights_are_counts_of_units() -> None:
    rng = np.random.default_rng(0)
    seen: list[np.ndarray] = []
    resampled([lambda weights: seen.append(weights) or weights.sum(axis=1)], Units(7), 50, rng)
    assert np.concatenate(seen).shape == (50, 7)
    assert (np.concatenate(seen).sum(axis=1) == 7).all()
    pairs_of = Units(3, np.array([[0, 1], [1, 2]]))
    assert pairs_of.weights(np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 3.0]])).tolist() == [[2, 0], [2, 6]]
    assert Units(2, np.array([0, 0, 1])).weights(np.array([[2.0, 0.0]])).tolist() == [[2, 2, 0]]
    assert left_out(lambda weights: weights.sum(axis=1), Units(2, np.array([0, 0, 1]))).tolist() == [1, 2]
    assert left_out(lambda weights: weights.sum(axis=1), Units(10), most=4).tolist() == [7, 7, 8, 8]


@pytest.mark.parametrize(
    "simulation",
    [correlation(Rows(60), "spearman"), correlation(Rows(60), "pearson"), macro_f1(Rows(60)), ndcg(Rows(60))],
)
def test_weights_and_positions_are_the_same_resample(simulation: object) -> None:
    outcome = of(simulation)
    chosen = np.random.default_rng(1).integers(0, 60, (20, 60))
    weights = np.stack([np.bincount(rows, minlength=60) for rows in chosen]).astype(np.float64)
    for metric in METRICS[outcome.task]:
        expected = [metric.value(outcome, rows) for rows in chosen]
        assert metric.weighted(outcome)(weights) == pytest.approx(expected, abs=1e-12)


# ------------------------------------------------------------------------------------------------- intervals


def test_an_interval_depends_on_its_seed_and_nothing_else() -> None:
    outcome = of(correlation(Rows(50), "spearman"))
    first, again, other = (one(outcome, "spearman", seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert first.low < first.value < first.high
    together = metric_values(outcome, metrics_of("similarity"), seed=3)
    assert together[0] == first


def test_near_the_bootstrap_of_scipy() -> None:
    from scipy.stats import bootstrap, pearsonr

    outcome = of(correlation(Rows(400), "pearson"))
    theirs = bootstrap(
        (outcome.right, outcome.given),
        lambda x, y, axis: pearsonr(x, y, axis=axis).statistic,
        paired=True,
        n_resamples=2_000,
        rng=0,
    ).confidence_interval
    found = one(outcome, "pearson", resamples=2_000)
    assert found.low == pytest.approx(theirs.low, abs=0.01)
    assert found.high == pytest.approx(theirs.high, abs=0.01)


def test_wilson_as_scipy() -> None:
    from scipy.stats import binomtest

    for hits, count in ((0, 20), (7, 20), (20, 20), (993, 1008)):
        values = (np.arange(count) < hits).astype(np.float64)
        expected = binomtest(hits, count).proportion_ci(method="wilson")
        assert wilson(values, Units(count)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_copies_of_rows_tell_nothing_new() -> None:
    rng = np.random.default_rng(0)
    right, given = np.zeros(50, int), (rng.random(50) < 0.2).astype(int)
    alone = one(Outcome("text-classification", right, given), "accuracy")
    copies = Outcome(
        "text-classification", np.repeat(right, 8), np.repeat(given, 8), clusters=np.repeat(np.arange(50), 8)
    )
    copied = one(copies, "accuracy")
    assert copied.value == alone.value
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.06)
    free = one(Outcome("text-classification", copies.right, copies.given), "accuracy")
    assert free.high - free.low < 0.5 * (alone.high - alone.low)


def test_all_right_is_not_certain() -> None:
    ones = np.ones(30, int)
    found = one(Outcome("text-classification", ones, ones), "accuracy")
    assert found.value == found.high == 1.0
    assert 0.85 < found.low < 0.9


def test_pairs_that_share_texts_have_wider_intervals_than_pairs_that_do_not() -> None:
    outcome = of(pairs(40, "pearson", node=1.0, noise=0.0))
    shared = one(outcome, "pearson")
    alone = one(Outcome("similarity", outcome.right, outcome.given), "pearson")
    assert shared.high - shared.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("right", "given"),
    [
        (np.arange(5.0), np.full(5, 0.1)),  # a constant
        (np.arange(5.0), np.array([1, np.nan, 2, 3, 4])),
        (np.arange(1.0), np.arange(1.0)),  # one row
    ],
)
def test_what_has_no_value_has_no_interval(right: np.ndarray, given: np.ndarray) -> None:
    for found in metric_values(Outcome("similarity", right, given), metrics_of("similarity")):
        assert np.isnan([found.value, found.low, found.high]).all()


def test_clusters_count_where_pairs_share_texts_too() -> None:
    outcome = of(pairs(12, "pearson", node=0.5, noise=1.0))
    of_texts = one(outcome, "pearson")
    found = [one(replace(outcome, clusters=np.arange(len(outcome)) % count), "pearson") for count in (1, 6, 24)]
    assert np.isnan([found[0].low, found[0].high]).all()
    assert len({(each.low, each.high) for each in (of_texts, *found[1:])}) == 3
    assert units_of(replace(outcome, clusters=np.arange(len(outcome)) % 6)).count == 6


def test_one_cluster_has_a_value_and_no_interval() -> None:
    rng = np.random.default_rng(0)
    outcome = Outcome("regression", rng.normal(size=9), rng.normal(size=9), clusters=np.zeros(9, int))
    for found in metric_values(outcome, metrics_of("regression")):
        assert np.isfinite(found.value)
        assert np.isnan([found.low, found.high]).all()
    labels = Outcome("text-classification", np.zeros(9, int), np.zeros(9, int), clusters=np.zeros(9, int))
    assert np.isnan(one(labels, "accuracy").low)


def test_what_never_varies_has_no_interval() -> None:
    found = one(Outcome("regression", np.arange(5.0), np.arange(5.0)), "mae")
    assert found.value == 0.0
    assert np.isnan([found.low, found.high]).all()


def test_every_task_on_little() -> None:
    ids = np.array([0, 1, 1])
    sets = np.array([[True, False], [False, True], [True, True]])
    rankings = [{0: 1}, {1: 2}, {2: 1}], [{0: 1.0, 1: 0.5}, {1: 0.1, 0: 0.5}, {2: 0.3}]
    tags = [["B-A", "O"], ["O", "I-A"], ["O", "O"]], [["B-A", "O"], ["O", "O"], ["O", "B-A"]]
    rows = {
        "similarity": (ids * 1.0, np.array([0.2, 0.1, 0.9])),
        "retrieval": rankings,
        "multi-label": (sets, ~sets),
        "token-classification": tags,
        "question-answering": ([["a cat"], [], ["dog"]], ["cat", "", "a dog or two"]),
        "fill-mask": (ids, ids + 1),
        "automatic-speech-recognition": (["a b", "c", "d"], ["a", "c", "e f"]),
    }
    rows |= {"reranking": rankings, "regression": rows["similarity"]}
    for task, metrics in METRICS.items():
        found = metric_values(Outcome(task, *rows.get(task, (ids, ids[::-1]))), metrics, resamples=50)
        assert [figure.name for figure in found] == [metric.name for metric in metrics]
        assert np.isfinite([figure.value for figure in found]).all()


def test_bad_arguments_are_refused() -> None:
    outcome = of(correlation(Rows(50), "spearman"))
    with pytest.raises(OptionError, match="resamples"):
        one(outcome, "spearman", resamples=0)
    with pytest.raises(OptionError, match="seed"):
        one(outcome, "spearman", seed=-1)
    with pytest.raises(InputError, match="no rows"):
        one(Outcome("similarity", [], []), "spearman")


def test_ten_thousand_rows_take_seconds() -> None:
    outcome = of(correlation(Rows(10_000), "spearman"))
    start = time.process_time()
    found = one(outcome, "spearman")
    assert time.process_time() - start < 10
    assert found.high - found.low < 0.04
