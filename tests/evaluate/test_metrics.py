"""Figures beside those of the libraries that people take them from, on the same predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.errors import InputError, UsageError
from QEfficient.evaluate.metrics.catalogue import METRICS, metrics_of
from QEfficient.evaluate.metrics.classification import confusion
from QEfficient.evaluate.metrics.speech import edits
from QEfficient.evaluate.record import Outcome

CLOSE = 1e-9


def measured(task: str, right: Any, answered: Any, *names: str, **more: Any) -> list[float]:
    outcome = Outcome(task, right, answered, **more)
    return [metric.value(outcome) for metric in metrics_of(task, names or None)]


def resampled(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, count)


# ------------------------------------------------------------------------------------------------- labels


labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(labels)
@settings(max_examples=60, deadline=None)
def test_classification_as_scikit_learn(rows: list[tuple[int, int]]) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    right, answered = np.array(rows).T
    outcome = Outcome("text-classification", right, answered, labels=tuple("abcde"))
    accuracy, macro = metrics_of("text-classification")
    for chosen in (np.arange(len(rows)), resampled(len(rows))):
        one, other = right[chosen], answered[chosen]
        assert accuracy.value(outcome, chosen) == pytest.approx(accuracy_score(one, other), abs=CLOSE)
        expected = f1_score(one, other, average="macro", zero_division=0)
        assert macro.value(outcome, chosen) == pytest.approx(expected, abs=CLOSE)
    assert np.array_equal(confusion(outcome), confusion_matrix(right, answered, labels=range(5)))


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_several_labels_as_scikit_learn(rows: list[list[bool]]) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    right, answered = np.array(rows)[:, :3], np.array(rows)[:, 3:]
    expected = [f1_score(right, answered, average=average, zero_division=0) for average in ("micro", "macro")]
    expected.append(accuracy_score(right, answered))
    assert measured("multi-label", right, answered) == pytest.approx(expected, abs=CLOSE)


def test_labels_chosen_by_nan_are_no_answers() -> None:
    scores = np.array([[0.1, 0.9], [np.nan, 0.2]], np.float32)
    assert np.isnan(measured("text-classification", np.array([1, 0]), np.array([1, 0]), scores=scores)).all()
    sets = np.array([[True, False], [False, True]])
    assert np.isnan(measured("multi-label", sets, sets, scores=scores)).all()


def test_one_class_only_has_figures() -> None:
    ones = np.ones(5, int)
    assert measured("image-classification", ones, ones) == [1.0, 1.0]
    assert measured("image-classification", ones, 1 - ones) == [0.0, 0.0]


# ------------------------------------------------------------------------------------------------- numbers


numbers = st.lists(
    st.tuples(st.integers(-5, 5) | st.floats(-1e6, 1e6), st.integers(-5, 5) | st.floats(-1e6, 1e6)),
    min_size=3,
    max_size=40,
)


@given(numbers)
@settings(max_examples=100, deadline=None)
def test_ranks_as_scipy(rows: list[tuple[float, float]]) -> None:
    from scipy.stats import spearmanr

    right, answered = np.array(rows, np.float64).T
    [metric] = metrics_of("similarity", ["spearman"])
    outcome = Outcome("similarity", right, answered)
    for chosen in (np.arange(len(rows)), resampled(len(rows))):
        one, other = right[chosen], answered[chosen]
        if len(set(one)) > 1 and len(set(other)) > 1:
            expected = spearmanr(one, other).statistic
            assert metric.value(outcome, chosen) == pytest.approx(expected, abs=CLOSE)
        else:
            assert np.isnan(metric.value(outcome, chosen))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1e6, 1e-2), (-3.0, 1e200)])
def test_regression_as_scipy_and_scikit_learn(seed: int, shift: float, scale: float) -> None:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    rng = np.random.default_rng(seed)
    right = rng.normal(size=200).round(1)
    answered = right + rng.normal(size=200).round(1)
    outcome = Outcome("regression", right, answered)
    for chosen in (np.arange(200), resampled(200, seed)):
        one, other = right[chosen], answered[chosen]
        expected = [measure(one, other).statistic for measure in (spearmanr, pearsonr)]
        expected += [measure(one, other) for measure in (mean_absolute_error, root_mean_squared_error, r2_score)]
        found = [metric.value(outcome, chosen) for metric in METRICS["regression"]]
        assert found == pytest.approx(expected, abs=CLOSE)
        moved = measured("similarity", right[chosen], other * scale + shift, "pearson")
        assert moved == pytest.approx(expected[1:2], abs=1e-8)  # beside 1e6 the answers themselves are rounded


@pytest.mark.parametrize(
    ("right", "answered"), [([1, 2, 3], [0.1, 0.1, 0.1]), ([0.3] * 3, [1, 2, 3]), ([1, 2, 3], [1, np.nan, 3])]
)
def test_what_has_no_correlation_is_nan(right: list[float], answered: list[float]) -> None:
    assert np.isnan(measured("similarity", np.array(right), np.array(answered))).all()


def test_errors_of_constants() -> None:
    constant = np.full(4, 2.0)
    spearman, pearson, mae, rmse, r2 = measured("regression", constant, constant + [1, -1, 1, -1])
    assert np.isnan([spearman, pearson, r2]).all()
    assert (mae, rmse) == (1.0, 1.0)
    for bad in (np.nan, np.inf):
        assert np.isnan(measured("regression", np.arange(4.0), np.array([1.0, bad, 2.0, 3.0]))).all()


# ------------------------------------------------------------------------------------------------- tags

tags = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


@given(st.lists(st.lists(st.tuples(tags, tags), min_size=1, max_size=12), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore::seqeval.metrics.v1.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_entities_as_seqeval(rows: list[list[tuple[str, str]]]) -> None:
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

    right, answered = [[one for one, _ in row] for row in rows], [[other for _, other in row] for row in rows]
    expected = [
        *(measure(right, answered, zero_division=0) for measure in (f1_score, precision_score, recall_score)),
        accuracy_score(right, answered),
    ]
    assert measured("token-classification", right, answered) == pytest.approx(expected, abs=CLOSE)


def test_tags_of_another_kind_are_refused() -> None:
    with pytest.raises(InputError, match="(?s)IOB2.*'NOUN', word 1.*accuracy"):
        measured("token-classification", [["O", "NOUN"]], [["O", "O"]])
    with pytest.raises(InputError, match=r"(?s)Row 1 .*1 tags.*2 tags"):
        measured("token-classification", [["O"], ["O", "O"]], [["O"], ["O"]])
    assert measured("token-classification", [["DET", "NOUN"]], [["DET", "VERB"]], "accuracy") == [0.5]


# ------------------------------------------------------------------------------------------------- speech

texts = st.text("ab cé", max_size=25).filter(lambda text: text.strip())


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=10))
@settings(max_examples=100, deadline=None)
def test_transcripts_as_jiwer(rows: list[tuple[str, str]]) -> None:
    import jiwer

    right, answered = map(list, zip(*rows, strict=True))
    expected = [jiwer.wer(right, answered), jiwer.cer(right, answered)]
    assert measured("automatic-speech-recognition", right, answered) == pytest.approx(expected, abs=CLOSE)


def test_edits_of_many_rows() -> None:
    rows = [("kitten", "sitting"), ("", "abc"), ("abc", ""), ("", ""), ("flaw", "lawn")] * 200
    found = edits([one for one, _ in rows], [other for _, other in rows])
    assert found.reshape(200, 5).tolist() == [[3, 3, 3, 0, 2]] * 200


def test_no_words_at_all_have_no_error_rate() -> None:
    assert np.isnan(measured("automatic-speech-recognition", [""], ["a"])).all()
    assert measured("automatic-speech-recognition", ["a b", ""], ["a", "c"]) == [1.0, 1.0]


# ------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("right", "answered", "f1", "exact"),
    [
        (["Denver Broncos"], "the Denver Broncos!", 1, 1),
        (["Denver Broncos"], "Broncos", 2 / 3, 0),
        (["in 1998", "1998"], "1998", 1, 1),  # the nearest of several
        (["Saint Bernadette Soubirous"], "Bernadette of Lourdes", 2 * (1 / 3) * (1 / 3) / (2 / 3), 0),
        (["a a b"], "a b b", 2 / 3, 0),  # articles go first: "b" and "b b"
        (["cat cat dog"], "cat dog dog", 2 / 3, 0),  # words count as often as they are there
        ([], "", 1, 1),  # no answer, and none given
        ([], "Paris", 0, 0),
        (["Paris"], "", 0, 0),
        (["The"], "", 1, 1),  # nothing is left of it, as in SQuAD's script
        (["The", "Paris"], "an", 0, 0),
        (["x-ray"], "xray", 1, 1),
        (["Café"], "cafe", 0, 0),
    ],
)
def test_answers_by_hand(right: list[str], answered: str, f1: float, exact: float) -> None:
    assert measured("question-answering", [right], [answered]) == pytest.approx([f1, exact], abs=CLOSE)


# ------------------------------------------------------------------------------------------------- masked words


def test_masked_words_by_hand() -> None:
    found = measured("fill-mask", np.array([7, 8, 9, 7]), np.array([1, 2, 5, 10]))
    assert found == pytest.approx([1 / 4, 3 / 4, (1 + 1 / 2 + 1 / 5 + 1 / 10) / 4])
    assert measured("fill-mask", [7, 8], [1, 2], "accuracy@2", "mrr@1") == [1.0, 0.5]


# ------------------------------------------------------------------------------------------------- names


def test_each_task_has_metrics_with_names_of_their_own() -> None:
    for task, metrics in METRICS.items():
        names = [metric.name for metric in metrics]
        assert len(set(names)) == len(names)
        assert metrics_of(task) == metrics
        assert [metric.name for metric in metrics_of(task, names[::-1])] == names[::-1]


def test_metrics_with_another_k() -> None:
    names = ["ndcg@3", "recall@100", "mrr@10", "mrr", "map@100", "map", "precision@5", "ndcg"]
    assert [metric.name for metric in metrics_of("retrieval", names)] == names


@pytest.mark.parametrize(
    ("task", "names", "said"),
    [
        ("retrieval", ["ndgc@10"], "Did you mean 'ndcg@10'.*any whole number"),
        ("retrieval", ["recall"], "'recall@100'"),
        ("retrieval", ["ndcg@0"], "ndcg@0"),
        ("retrieval", ["ndcg@ten"], "ndcg@ten"),
        ("text-classification", ["accuracy@5"], "'accuracy', 'macro_f1'"),
        ("similarity", [], "at least one"),
        ("similarity", ["pearson", "pearson"], "each name once"),
        ("similarities", None, "Did you mean 'similarity'"),
    ],
)
def test_unknown_names_are_refused(task: str, names: list[str] | None, said: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){said}"):
        metrics_of(task, names)


def test_an_empty_outcome_is_refused() -> None:
    with pytest.raises(InputError, match="no rows"):
        measured("similarity", [], [])
