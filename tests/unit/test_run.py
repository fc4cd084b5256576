"""Rows through a session and back in order. The session is a small real one, in numpy."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.backends.base import Arrays
from QEfficient.errors import DeviceError, InputError, ManifestError, NumericsError
from QEfficient.records import Rows, TensorSpec
from QEfficient.runtime.rows import from_arrays
from QEfficient.runtime.run import How, frame_count, run_rows
from tests.example_session import BUCKETS, INPUTS, POOLED, SCORES, TOKENS, ExampleSession


def rows_of(mask: Any) -> Rows:
    """Rows whose ids tell row and place: 100 · row + place + 1."""
    mask = np.array(mask, np.int64)
    ids = 100 * np.arange(mask.shape[0])[:, None] + np.arange(mask.shape[1]) + 1
    return from_arrays({"input_ids": ids, "attention_mask": mask}, INPUTS, max_length=None, buckets=BUCKETS)


def full(*lengths: int) -> Rows:
    return rows_of([[1] * n + [0] * (8 - n) for n in lengths])


# every row is some mask of 8 columns with a real token: padding left, right, on both sides, holes
MASKS = st.lists(st.lists(st.integers(0, 1), min_size=8, max_size=8).filter(any), min_size=1, max_size=3 * 3 + 1)


@settings(deadline=None)  # a busy machine is no failure
@given(MASKS, st.booleans(), st.integers(1, 3))
def test_rows_come_back_in_order(mask: list[list[int]], fixed: bool, slots: int) -> None:
    with ExampleSession(fixed=fixed, slots=slots) as session:
        result = run_rows(session, rows_of(mask), How(fill={"input_ids": 77}))["output"]
    ids = [[100 * row + place + 1 for place, real in enumerate(places) if real] for row, places in enumerate(mask)]
    assert result.tolist() == [[sum(row), len(row)] for row in ids]


@settings(deadline=None)  # a busy machine is no failure
@given(MASKS, st.booleans(), st.integers(1, 3))
def test_tokens_come_back_in_order_with_zeros_behind_them(mask: list[list[int]], fixed: bool, slots: int) -> None:
    with ExampleSession(TOKENS, fixed=fixed, slots=slots) as session:
        result = run_rows(session, rows_of(mask), How(fill={"input_ids": 77}))["output"]
    assert result.shape == (len(mask), 8, 2)
    for row, places in enumerate(mask):
        end = max(place for place, real in enumerate(places) if real) + 1
        assert not result[row, end:].any()
        for place in range(end):
            assert result[row, place].tolist() == [100 * row + place + 1 if places[place] else 1e9, place]


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("rows", range(3 * 3 + 2))
def test_any_number_of_rows(rows: int, fixed: bool) -> None:
    mask = np.ones((rows, 4), np.int64)
    with ExampleSession(POOLED, SCORES, fixed=fixed) as session:
        result = run_rows(session, rows_of(mask), How())
    assert result["output"].tolist() == [[400 * row + 10, 4] for row in range(rows)]
    assert result["start_logits"].tolist() == [[100 * row + place + 1 for place in range(4)] for row in range(rows)]
    if fixed:
        assert set(session.seen) <= {(3, 4)} and len(session.seen) == -(-rows // 3)


@pytest.mark.parametrize(("spec", "shape"), [(POOLED, (0, 2)), (TOKENS, (0, 5, 2)), (SCORES, (0, 5))])
def test_no_rows_in_no_rows_out(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    with ExampleSession(spec) as session:
        result = run_rows(session, rows_of(np.zeros((0, 5))), How())[spec.name]
    assert result.shape == shape and result.dtype == np.float32 and not session.seen


def test_fill_goes_where_a_row_ends() -> None:
    seen: list[Arrays] = []
    with ExampleSession(fixed=True, before=seen.append) as session:
        run_rows(session, full(2, 3), How(fill={"input_ids": 77, "attention_mask": 1}))
    assert seen[0]["input_ids"].tolist() == [[101, 102, 103, 77], [1, 2, 77, 77], [101, 102, 103, 77]]
    assert seen[0]["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]


def test_the_host_runs_true_lengths() -> None:
    with ExampleSession() as session:
        run_rows(session, full(2, 7, 5), How())
    assert session.seen == [(3, 7)]


def test_progress_counts_rows() -> None:
    done: list[int] = []
    with ExampleSession(fixed=True) as session:
        run_rows(session, full(*[2] * 7, 8), How(progress=done.append))
    assert sorted(done) == [1, 1, 3, 3]


def test_one_more_than_slots_are_handed_over() -> None:
    with ExampleSession(fixed=True, slots=3, before=lambda arrays: time.sleep(0.002)) as session:
        run_rows(session, full(*[2] * 60), How())
    assert len(session.seen) == 20
    assert 2 <= session.most <= 3
    assert session.most_held == 4


def test_the_first_failure_stops_the_rest() -> None:
    def fail(arrays: Arrays) -> None:
        if len(session.seen) == 4:
            raise DeviceError("The device is gone.", status="QS_DEV_ERROR")

    with ExampleSession(fixed=True, slots=2, before=fail) as session:
        with pytest.raises(DeviceError, match="gone"):
            run_rows(session, full(*[2] * 90), How())
        assert session.flying == 0
        assert len(session.seen) <= 6


def test_a_failure_cancels_what_has_not_begun() -> None:
    def fail(arrays: Arrays) -> None:
        time.sleep(0.05)  # the others are submitted by now
        raise DeviceError("The device is gone.")

    with ExampleSession(fixed=True, slots=3, workers=1, before=fail) as session:
        with pytest.raises(DeviceError, match="gone"):
            run_rows(session, full(*[2] * 9), How())
    assert len(session.seen) <= 2  # the worker may take the next one before it can be cancelled


def test_an_interrupt_leaves_nothing_running() -> None:
    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with ExampleSession(fixed=True, slots=3, before=lambda arrays: time.sleep(0.002)) as session:
        with pytest.raises(KeyboardInterrupt):
            run_rows(session, full(*[2] * 90), How(progress=interrupt))
        assert session.flying == 0
        started = len(session.seen)
        time.sleep(0.02)
        assert len(session.seen) == started < 10


class Spoiled(ExampleSession):
    """Gives NaN for ids above 300, that is from row 3 on, and in front of the mask's end as well."""

    def _answer(self, ids: np.ndarray, mask: np.ndarray) -> Arrays:
        answer = super()._answer(ids, mask)
        bad = (ids * mask).max(axis=1) > 300
        return {name: np.where(bad.reshape(-1, *[1] * (a.ndim - 1)), np.nan, a) for name, a in answer.items()}


@pytest.mark.parametrize("spec", [POOLED, TOKENS, SCORES])
@pytest.mark.parametrize("fixed", [True, False])
def test_numbers_that_are_not_finite_are_named(spec: TensorSpec, fixed: bool) -> None:
    with Spoiled(spec, fixed=fixed) as session:
        run_rows(session, full(2, 2, 2), How())
        with pytest.raises(NumericsError) as caught:
            run_rows(session, full(2, 2, 2, 7), How())
    assert caught.value.got == "row 3 (7 tokens)"


def test_junk_in_padding_is_no_failure() -> None:
    class JunkBehind(ExampleSession):
        def _answer(self, ids: np.ndarray, mask: np.ndarray) -> Arrays:
            return {"output": np.where(mask[..., None] == 1, super()._answer(ids, mask)["output"], np.nan)}

    with JunkBehind(TOKENS) as session:
        result = run_rows(session, full(2, 8, 5), How())["output"]
    assert np.isfinite(result).all() and not result[0, 2:].any()


def test_a_missing_column() -> None:
    rows = Rows({"attention_mask": [np.ones(3, np.int64)]}, width=3, lengths=(3,))
    with ExampleSession() as session, pytest.raises(InputError, match="input_ids"):
        run_rows(session, rows, How())


@pytest.mark.parametrize("shape", [(4, 2), ("batch_size", 2, "seq_len"), ("batch_size", "other")])
def test_an_output_that_can_not_be_cut_into_rows(shape: tuple[int | str, ...]) -> None:
    with ExampleSession(TensorSpec("odd", "float32", shape)) as session, pytest.raises(ManifestError, match="odd"):
        run_rows(session, full(2), How())


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(1, 2000), st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), max_size=4))
def test_frames_are_those_that_convolutions_give(samples: int, chain: list[tuple[int, int]]) -> None:
    states: Any = torch.zeros(1, 1, samples)
    for kernel, stride in chain:
        if states.shape[2] < kernel:
            assert frame_count(samples, chain) == 0
            return
        states = torch.nn.functional.conv1d(states, torch.zeros(1, 1, kernel), stride=stride)
    assert frame_count(samples, chain) == states.shape[2]


def test_an_output_of_frames_is_cut_back_to_each_row_s_own() -> None:
    class Frames(ExampleSession):
        """A frame every two tokens; what lies beyond a row's own is junk."""

        def _answer(self, ids: np.ndarray, mask: np.ndarray) -> Arrays:
            return {"output": np.where(mask[:, 1::2, None] == 1, ids[:, 1::2, None], 1e9).astype(np.float32)}

    spec = TensorSpec("output", "float32", ("batch_size", "frames", 1))
    rows = from_arrays({"input_ids": [[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]], "attention_mask": [[1] * 5, [1, 1, 1, 0, 0]]},
                       INPUTS, max_length=None, buckets=BUCKETS)  # fmt: skip
    with Frames(spec) as session:
        result = run_rows(session, rows, How(frames=((2, 2),)))["output"]
    assert result[..., 0].tolist() == [[2.0, 4.0], [7.0, 0.0]]
