"""The figures of a verification: what they see, what they take no notice of, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from QEfficient.errors import NumericsError, OptionError, VerificationError
from QEfficient.numerics.check import Comparison, figures, vectors
from QEfficient.numerics.verify import (
    HISTOGRAM,
    LIMITS,
    SHOWN,
    Limits,
    Reference,
    Sample,
    Verification,
    limits_for,
    refuse,
    verify,
)
from QEfficient.records import TensorSpec

POOLED = TensorSpec("output", "float32", ("batch_size", 8))
TOKENS = TensorSpec("output", "float32", ("batch_size", "seq_len", 8))
SCORES = TensorSpec("logits", "float32", ("batch_size", 3))
STARTS = TensorSpec("start_logits", "float32", ("batch_size", "seq_len"))
FRAMES = TensorSpec("output", "float32", ("batch_size", "frames", 2))
MAPS = TensorSpec("output", "float32", ("batch_size", 4, 2, 3))

numbers = st.floats(-100, 100, width=32)
some_vectors = arrays.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=numbers)


def rows_of(count: int, seed: int = 0, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def sample(count: int, mask: Sequence[Sequence[int]] | None = None, texts: bool = True) -> Sample:
    ones = np.ones((count, 4), np.int64) if mask is None else np.array(mask, np.int64)
    return Sample({"attention_mask": ones}, tuple(f"row {row}" for row in range(count)), texts)


def compared(
    want: np.ndarray,
    got: np.ndarray,
    spec: TensorSpec = POOLED,
    limits: Limits = LIMITS["fp32"],
    of: Sample | None = None,
    **how: Any,
) -> Verification:
    """One batch on both sides."""
    reference: Reference = (of or sample(len(want)), {spec.name: want})
    return verify([reference], lambda _: {spec.name: got}, Comparison("a model", [spec], **how), limits, "a candidate")


# ---------------------------------------------------------------------------------------------- figures


@given(some_vectors)
def test_what_is_compared_with_itself_agrees(values: np.ndarray) -> None:
    cosine, difference = figures(values, values)
    assert (difference == 0).all()
    assert np.allclose(cosine, np.where(np.linalg.norm(values, axis=1) > 1e-9, 1.0, cosine))
    assert (cosine <= 1 + 1e-9).all()


@given(some_vectors, st.floats(1.5, 100))
def test_a_cosine_is_blind_to_scale_and_the_difference_is_not(values: np.ndarray, factor: float) -> None:
    values = values + np.where(np.abs(values).max(-1, keepdims=True) < 1, 1, 0)
    cosine, difference = figures(values, values * factor)
    assert cosine == pytest.approx(1)
    assert (difference >= (factor - 1) / np.sqrt(values.shape[1]) * 0.999).all()


@given(some_vectors, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_one_number_that_is_not_finite_spoils_its_vector_only(
    values: np.ndarray, bad: float, data: st.DataObject
) -> None:
    row, column = (data.draw(st.integers(0, size - 1)) for size in values.shape)
    got = values.copy()
    got[row, column] = bad
    cosine, difference = figures(values, got)
    assert cosine[row] == -1 and np.isposinf(difference[row])
    assert (np.delete(difference, row) == 0).all()


def test_two_zero_vectors_agree_and_one_does_not() -> None:
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    assert [float(each[0]) for each in figures(zero, zero)] == [1.0, 0.0]
    for want, got in ((zero, one), (one, zero)):
        cosine, difference = figures(want, got)
        assert cosine[0] == 0 and difference[0] > 0.5


def test_another_shape_is_refused() -> None:
    with pytest.raises(VerificationError, match="A candidate gives another shape") as caught:
        compared(np.zeros((2, 8)), np.zeros((2, 4)))
    assert (caught.value.got, caught.value.allowed, caught.value.verification) == ("(2, 4)", "(2, 8)", None)


# ---------------------------------------------------------------------------------------------- vectors


@given(st.integers(1, 4), st.integers(1, 6), st.data())
def test_only_real_tokens_count(rows: int, length: int, data: st.DataObject) -> None:
    mask = data.draw(arrays.arrays(np.int64, (rows, length), elements=st.integers(0, 1)))
    states = np.random.default_rng(0).standard_normal((rows, length, 8))
    found = vectors(states, TOKENS, {"attention_mask": mask}, ())
    assert found.rows.tolist() == np.nonzero(mask)[0].tolist()
    assert (found.values == states[mask == 1]).all()
    junk = np.where(mask[..., None] == 1, states, np.nan)
    assert (vectors(junk, TOKENS, {"attention_mask": mask}, ()).values == found.values).all()


def test_one_score_a_token_is_a_vector_of_one() -> None:
    found = vectors(np.array([[1.0, 2], [3, 4]]), STARTS, {"attention_mask": np.array([[1, 1], [0, 1]])}, ())
    assert found.values.tolist() == [[1], [2], [4]]
    assert found.rows.tolist() == [0, 0, 1]


def test_frames_are_counted_from_the_samples() -> None:
    mask = np.array([[1] * 10, [1] * 6 + [0] * 4])
    states = np.arange(2 * 4 * 2).reshape(2, 4, 2)  # kernel 4, stride 2: 10 samples make 4 frames, 6 make 2
    found = vectors(states, FRAMES, {"attention_mask": mask}, ((4, 2),))
    assert found.rows.tolist() == [0, 0, 0, 0, 1, 1]
    assert found.values.tolist() == [*states[0].tolist(), *states[1, :2].tolist()]


def test_a_map_is_one_vector_of_channels_a_place() -> None:
    maps = np.arange(2 * 4 * 2 * 3).reshape(2, 4, 2, 3)
    found = vectors(maps, MAPS, {}, ())
    assert found.values.shape == (12, 4)
    assert found.rows.tolist() == [0] * 6 + [1] * 6
    assert found.values[1].tolist() == maps[0, :, 0, 1].tolist()


def test_whose_dims_come_back_in_another_order_is_seen() -> None:
    want = rows_of(6)
    assert not compared(want, want[:, ::-1].copy()).passed


# ---------------------------------------------------------------------------------------------- ranks


def test_a_right_candidate_keeps_its_ranks() -> None:
    want = rows_of(20)
    found = compared(want, want + 1e-7 * rows_of(20, seed=1))
    assert found.rank_agreement == 1.0
    assert found.passed


@given(st.randoms(use_true_random=False))
def test_rows_given_to_each_other_lose_them(random: Any) -> None:
    """Every cosine may be near 1, as in a model whose vectors all lie together: the ranks still tell."""
    order = list(range(20))
    random.shuffle(order)
    moved = [place for place, row in enumerate(order) if place != row]
    together = 1000 + rows_of(20)
    found = compared(together, together[order], limits=Limits(min_cosine=None, max_difference=None))
    assert found.min_cosine > 0.99999
    assert found.rank_agreement is not None
    assert (found.rank_agreement < 1) == bool(moved) or len(moved) < 6


def test_ties_within_the_tolerance_change_no_rank() -> None:
    """Forty copies of two texts: which five are nearest is chance."""
    want = np.repeat(rows_of(2), 20, axis=0)
    found = compared(want, want + 1e-5 * rows_of(40, seed=1))
    assert found.rank_agreement == 1.0


def test_what_has_no_neighbours_has_no_ranks() -> None:
    want = rows_of(20)
    assert compared(want, want, of=sample(20, texts=False)).rank_agreement is None
    assert compared(want[:6], want[:6]).rank_agreement is None
    assert compared(want[:7], want[:7]).rank_agreement == 1.0
    tokens = np.repeat(want[:, None], 4, axis=1)
    assert compared(tokens, tokens, TOKENS).rank_agreement is None


# ---------------------------------------------------------------------------------------------- labels and scores


def test_a_label_that_changed_is_seen_where_the_scores_are_apart() -> None:
    want = np.array([[3.0, 1, 0], [1, 3, 0], [0, 1, 1.00001], [0, 0, 4]])
    got = want.copy()
    got[0] = got[0, [1, 0, 2]]
    got[2] = got[2, [0, 2, 1]]  # its two best lie nearer together than the tolerance
    found = compared(want, got, SCORES, whole=True)
    assert found.label_agreement == pytest.approx(2 / 3)
    assert found.max_logit_error == pytest.approx(2)
    assert any(text.startswith("label agreement 0.66") for text in found.failures)


def test_where_an_answer_starts_is_the_label_of_a_row() -> None:
    want = np.array([[5.0, 1, 0, 9], [0, 1, 7, 0]])
    of = sample(2, mask=[[1, 1, 1, 0], [1, 1, 1, 1]])
    moved = want[:, [2, 1, 0, 3]]
    assert compared(want, want, STARTS, of=of, whole=True).label_agreement == 1.0
    assert compared(want, moved, STARTS, of=of, whole=True).label_agreement == 0.0
    past_the_mask = want.copy()
    past_the_mask[0, 3] = -9
    assert compared(want, past_the_mask, STARTS, of=of, whole=True).passed


def test_a_single_score_has_no_label() -> None:
    one = TensorSpec("logits", "float32", ("batch_size", 1))
    found = compared(np.array([[1.0], [2]]), np.array([[1.0], [2.5]]), one, whole=True)
    assert found.label_agreement is None
    assert found.max_logit_error == 0.5


def test_scores_around_zero_are_compared_as_they_are() -> None:
    """A trained reranker gives 0.02 for texts that it is unsure of; fp32 rounds the sums behind it by 1e-6."""
    one = TensorSpec("logits", "float32", ("batch_size", 1))
    want = np.array([[0.02], [-0.01], [0.03]])
    assert compared(want, want + 2e-6, one, whole=True).passed
    assert not compared(want, want + 1e-4, one, whole=True).passed
    assert not compared(np.zeros((3, 1)), np.full((3, 1), 1e-4), one, whole=True).passed
    assert not compared(100 * want, 100 * want + 1e-3, one, whole=True).passed


def test_the_row_with_the_greatest_logit_error_is_named() -> None:
    want = rows_of(5, width=3)
    got = want.copy()
    got[3, 1] += 1
    found = compared(want, got, SCORES, whole=True)
    assert [row.row for row in found.worst] == ["row 3"]
    got[2, 0] = np.nan
    found = compared(want, got, SCORES, whole=True)
    assert found.worst[0].row == "row 2" and np.isinf(found.max_logit_error or 0)


# ---------------------------------------------------------------------------------------------- the whole result


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 3))
def test_every_vector_is_in_the_histogram_once(angles: list[float], bad: int) -> None:
    want = np.tile(np.array([1.0, 0, 0, 0, 0, 0, 0, 0]), (len(angles), 1))
    got = want.copy()
    got[:, 0], got[:, 1] = np.cos(angles), np.sin(angles)
    got[:bad] = np.nan
    found = compared(want, got)
    assert sum(found.histogram) == found.vectors == found.rows == len(angles)
    assert found.not_finite == min(bad, len(angles))
    cosines = figures(want, got)[0]
    assert found.histogram[0] == int((cosines < HISTOGRAM[0]).sum())
    assert found.histogram[-1] == int((cosines >= HISTOGRAM[-1]).sum())
    assert (found.min_cosine, found.mean_cosine) == (cosines.min(), cosines.mean())


@given(st.sets(st.integers(0, 11), max_size=8))
def test_rows_that_are_not_finite_are_counted_and_named(bad: set[int]) -> None:
    want = rows_of(12)
    got = want.copy()
    got[list(bad), 3] = np.inf
    found = compared(want, got)
    assert found.not_finite == len(bad)
    named = {row.row for row in found.worst if not np.isfinite(row.difference)}
    assert named <= {f"row {row}" for row in bad} and len(named) == min(SHOWN, len(bad))
    assert (f"{len(bad)} of 12 vectors hold NaN or Inf" in found.failures) == bool(bad)
    loose = compared(want, got, limits=Limits(None, None, None, None))
    assert loose.passed == (not bad)  # no limit lets them through


@given(st.permutations(range(10)))
def test_the_worst_rows_come_first_and_each_once(order: list[int]) -> None:
    want = np.ones((10, 3, 8))
    got = want.copy()
    for place, row in enumerate(order):
        got[row, 1, 0] += 0.1 * (10 - place)  # one token of each row is off
    found = compared(want, got, TOKENS, of=sample(10, mask=[[1, 1, 1]] * 10))
    assert [row.row for row in found.worst] == [f"row {row}" for row in order[:SHOWN]]
    assert found.worst[0].cosine == found.min_cosine
    assert found.worst[0].difference == found.max_difference


def test_a_reference_with_nan_is_an_error_of_its_own() -> None:
    want = rows_of(2)
    want[1, 1] = np.nan
    with pytest.raises(NumericsError, match="HuggingFace's own 'a model'") as caught:
        compared(want, want)
    assert not isinstance(caught.value, VerificationError)


@given(
    cosine=st.floats(-1, 1),
    rank=st.none() | st.floats(0, 1),
    worst=st.lists(st.text(max_size=5), max_size=3),
    limit=st.none() | st.floats(-1, 1),
)
def test_json_and_back(cosine: float, rank: float | None, worst: list[str], limit: float | None) -> None:
    plain = compared(rows_of(3), rows_of(3)).to_json()
    changed = plain | {
        "min_cosine": cosine,
        "rank_agreement": rank,
        "worst": [{"row": row, "cosine": cosine, "difference": 0.5} for row in worst],
    }
    changed["limits"] = changed["limits"] | {"min_cosine": limit}
    found = Verification.from_json(json.loads(json.dumps(changed)))
    assert Verification.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.to_json()["passed"] == found.passed
    assert found.limits.min_cosine == limit


def test_it_is_a_table_in_print() -> None:
    want = rows_of(9)
    text = str(compared(want, want * 1.5))
    assert text.splitlines()[0] == "a candidate against HuggingFace float32: FAILED, 9 rows"
    assert "largest difference ÷ norm" in text and "limit ≤ 5e-05" in text
    assert "worst: row" in text
    assert "label agreement" not in text


# ---------------------------------------------------------------------------------------------- limits


def test_each_limit_counts_by_itself() -> None:
    off = {"min_cosine": None, "max_difference": None, "min_rank_agreement": None}
    want = rows_of(12)
    got = want + 0.3 * rows_of(12, seed=1)
    assert compared(want, got, limits=limits_for("fp32", off)).passed
    for name, tight, words in (
        ("min_cosine", 0.999, "min cosine"),
        ("min_mean_cosine", 0.999, "mean cosine"),
        ("max_difference", 1e-3, "largest difference"),
        ("min_rank_agreement", 1.0, "rank agreement"),
    ):
        found = compared(want, got, limits=limits_for("fp32", off | {name: tight}))
        assert len(found.failures) == 1 and found.failures[0].startswith(words)
    only = Limits(None, None, None, None, max_logit_error=0.01)
    [failure] = compared(want, got, whole=True, limits=only).failures
    assert failure.startswith("logit error")


def test_the_callers_limits_stand_in_place_of_the_defaults() -> None:
    found = limits_for("fp16", {"min_cosine": 0.9, "max_logit_error": 2, "max_difference": None})
    usual = LIMITS["fp16"]
    assert found == Limits(0.9, None, usual.min_rank_agreement, usual.min_label_agreement, 2)
    whole = Limits(min_cosine=0.5)
    assert limits_for("mxfp6", whole) is whole
    assert limits_for("fp32") == LIMITS["fp32"] == Limits()
    routed = limits_for("fp16", routed=True)
    assert routed.max_difference is None and routed.min_mean_cosine == 0.97
    assert limits_for("fp32", routed=True) == Limits()


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (0.99, "limits=0.99"),
        ([("min_cosine", 0.9)], "limits="),
        ({"min_cosin": 0.9}, "'min_cosin'"),
        ({"min_cosine": "0.9"}, "min_cosine='0.9'"),
        ({"min_cosine": True}, "min_cosine=True"),
        ({"max_difference": float("nan")}, "max_difference=nan"),
        ({3: 0.9}, "3"),
    ],
)
def test_what_is_no_limit_is_refused(wanted: object, got: str) -> None:
    with pytest.raises(OptionError) as caught:
        limits_for("fp32", wanted)
    assert got in str(caught.value.got)
    assert "min_cosine" in str(caught.value.allowed)


def test_a_misspelt_limit_gives_the_nearest() -> None:
    with pytest.raises(OptionError, match="Did you mean 'min_cosine'"):
        limits_for("fp32", {"min_cosin": 0.9})


def test_refusing_names_rows_limits_and_what_to_do() -> None:
    want = rows_of(9)
    got = want.copy()
    got[4] = -got[4]
    found = compared(want, got)
    with pytest.raises(VerificationError) as caught:
        refuse(found, "a model", "The layer is x.")
    error = caught.value
    assert error.verification is found
    assert error.what == "'a model' does not give the numbers of HuggingFace float32 as a candidate. The layer is x."
    assert "min cosine -1 < 0.99999" in str(error.got) and "Worst rows: row 4 (cosine -1.000000)" in str(error.got)
    assert "min_cosine 0.99999" in str(error.allowed) and "max_logit_error" not in str(error.allowed)
    assert 'verify="off"' in str(error.do)
    refuse(compared(want, want), "a model")


def test_several_outputs_and_batches_make_one_result() -> None:
    ends = TensorSpec("end_logits", "float32", ("batch_size", "seq_len"))

    def outputs(seed: int) -> dict[str, np.ndarray]:
        return {spec.name: rows_of(2, seed, width=4) for spec in (STARTS, ends)}

    references: list[Reference] = [(sample(2), outputs(seed)) for seed in range(3)]
    answers = iter([outputs(0), outputs(1), outputs(2) | {"end_logits": rows_of(2, 99, width=4)}])

    def candidate(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return next(answers)

    found = verify(references, candidate, Comparison("qa", [STARTS, ends], whole=True), Limits(), "it")
    assert (found.rows, found.vectors) == (6, 6)
    assert found.histogram[-1] == 5
    assert not found.passed
