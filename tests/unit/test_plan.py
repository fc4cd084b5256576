"""Lengths → batches: pure, smallest fit, every row once."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.errors import InputError
from QEfficient.records import Shape
from QEfficient.runtime.plan import BATCH_IMAGES, Batch, choose_bucket, plan

BUCKETS = st.lists(st.builds(Shape, st.integers(1, 64), st.integers(1, 9)), min_size=1, max_size=6, unique=True)


@settings(deadline=None)  # a busy machine is no failure
@given(BUCKETS, st.integers(1, 64))
def test_the_smallest_bucket_that_fits(buckets: list[Shape], length: int) -> None:
    fitting = [(bucket.length, bucket.batch) for bucket in buckets if bucket.length >= length]
    if fitting:
        chosen = choose_bucket(length, buckets)
        assert (chosen.length, chosen.batch) == min(fitting)
    else:
        with pytest.raises(InputError, match=f"{length} tokens") as caught:
            choose_bucket(length, buckets)
        assert f"at most {max(bucket.length for bucket in buckets)} tokens" in str(caught.value)


def test_the_choice_depends_on_the_length_only() -> None:
    buckets = [Shape(length, batch) for length in (32, 64, 128, 256) for batch in (1, 8)]
    calls = [1 + number % 256 for number in range(10_000)]
    expected = {length: choose_bucket(length, buckets) for length in range(1, 257)}
    for seed in range(3):
        random.Random(seed).shuffle(calls)
        order = random.Random(seed).sample(buckets, len(buckets))
        assert all(choose_bucket(length, order) == expected[length] for length in calls)


@settings(deadline=None)  # a busy machine is no failure
@given(st.data(), BUCKETS, st.booleans(), st.integers(1, 200))
def test_every_row_stands_in_one_batch_that_holds_it(
    data: st.DataObject, buckets: list[Shape], fixed: bool, tokens: int
) -> None:
    lengths = data.draw(st.lists(st.integers(1, max(bucket.length for bucket in buckets)), max_size=40))
    batches = plan(lengths, buckets, fixed_shapes=fixed, batch_tokens=tokens)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch.rows)
        if fixed:
            assert batch.shape in buckets
            assert len(batch.rows) <= batch.shape.batch
            assert all(choose_bucket(lengths[row], buckets).length == batch.shape.length for row in batch.rows)
        else:
            assert (batch.shape.batch, batch.shape.length) == (len(batch.rows), longest)
            assert len(batch.rows) == 1 or len(batch.rows) * longest <= tokens
    order = [row for batch in batches for row in batch.rows]
    assert all(lengths[a] >= lengths[b] for a, b in pairwise(order))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(1, 64), max_size=60), st.integers(1, 200), st.integers(2, 5), st.booleans())
def test_streams_end_together(lengths: list[int], tokens: int, streams: int, images: bool) -> None:
    """Against every budget tried in turn: the batches are as small as their number allows."""
    bucket = [Shape(64)]
    common = {"fixed_shapes": False, "images": images}
    plain = plan(lengths, bucket, batch_tokens=tokens, **common)
    batches = plan(lengths, bucket, batch_tokens=tokens, streams=streams, **common)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(lengths)))
    if len(lengths) < streams:
        assert batches == plain
        return
    wanted = -(-len(plain) // streams) * streams
    tried = [plan(lengths, bucket, batch_tokens=budget, **common) for budget in range(1, tokens + 1)]
    assert batches == next(one for one in tried if len(one) <= wanted)


def test_a_few_rows_use_every_stream() -> None:
    sizes = {n: [len(b.rows) for b in plan([10] * n, [Shape(64)], fixed_shapes=False, streams=2)] for n in (1, 2, 5)}
    assert sizes == {1: [1], 2: [1, 1], 5: [3, 2]}


@given(st.integers(0, 40), st.integers(1, 5))
def test_images_are_spread_over_the_streams(count: int, streams: int) -> None:
    batches = plan([1] * count, [Shape(batch=2)], fixed_shapes=False, streams=streams)
    sizes = [len(batch.rows) for batch in batches]
    assert [row for batch in batches for row in batch.rows] == list(range(count))
    assert all(size <= BATCH_IMAGES for size in sizes)
    assert count < streams or len(set(sizes[:-1])) <= 1


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(1, 32), max_size=30), st.booleans())
def test_the_same_lengths_give_the_same_plan(lengths: list[int], fixed: bool) -> None:
    buckets = (Shape(8, 4), Shape(32, 4))
    first = plan(lengths, buckets, fixed_shapes=fixed)
    plan([32] * 7, buckets, fixed_shapes=not fixed)
    assert plan(list(lengths), buckets[::-1], fixed_shapes=fixed) == first


def test_a_remainder_takes_the_smallest_batch_that_holds_it() -> None:
    buckets = [Shape(16, batch) for batch in (8, 1, 4)]
    sizes = {
        n: [batch.shape.batch for batch in plan([9] * n, buckets, fixed_shapes=True)] for n in (1, 2, 5, 9, 12, 19)
    }
    assert sizes == {1: [1], 2: [4], 5: [8], 9: [8, 1], 12: [8, 4], 19: [8, 8, 4]}


def test_the_dims_keep_their_names() -> None:
    bucket = Shape(16, 1, {"ctx_len": 64})
    expected = (Batch((0, 1), Shape(5, 2, {"ctx_len": 64})),)
    assert plan([5, 5], [bucket], fixed_shapes=False) == expected


@pytest.mark.parametrize("fixed", [True, False])
def test_too_long(fixed: bool) -> None:
    with pytest.raises(InputError, match="17 tokens"):
        plan([3, 17], [Shape(16)], fixed_shapes=fixed)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(1, 12), max_size=40), st.integers(1, 60))
def test_rows_that_can_not_be_padded_stand_beside_rows_of_their_length(lengths: list[int], tokens: int) -> None:
    batches = plan(lengths, [Shape(12)], fixed_shapes=False, pads=False, batch_tokens=tokens)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(lengths)))
    for batch in batches:
        assert {lengths[row] for row in batch.rows} == {batch.shape.length}
        assert len(batch.rows) == 1 or len(batch.rows) * batch.shape.length <= tokens


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(1, 9), max_size=20), st.sets(st.integers(1, 9), min_size=1))
def test_with_fixed_shapes_they_fill_one_exactly_or_are_refused(lengths: list[int], compiled: set[int]) -> None:
    buckets = sorted(Shape(length, 2) for length in compiled)
    other = sorted(set(lengths) - compiled)
    if other:
        with pytest.raises(InputError, match=str(other[-1])):
            plan(lengths, buckets, fixed_shapes=True, pads=False)
        return
    batches = plan(lengths, buckets, fixed_shapes=True, pads=False)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(lengths)))
    assert all(lengths[row] == batch.shape.length for batch in batches for row in batch.rows)


@given(st.integers(0, 40))
def test_images_go_in_small_batches_in_order(count: int) -> None:
    batches = plan([1] * count, [Shape(batch=2)], fixed_shapes=False)
    assert [row for batch in batches for row in batch.rows] == list(range(count))
    assert all(len(batch.rows) == batch.shape.batch <= BATCH_IMAGES for batch in batches)
    assert all(batch.shape.sizes == {"batch_size": len(batch.rows)} for batch in batches)
