"""Suggested buckets: the true minimum, as brute force finds it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.errors import InputError
from QEfficient.records import Shape
from QEfficient.runtime.plan import choose_bucket, plan
from QEfficient.runtime.suggest import Cost, positions, suggest_buckets


def total(lengths: Sequence[int], buckets: Sequence[Shape], cost: Cost) -> float:
    """What the planner's own batches cost."""
    return sum(cost(batch.shape.length, batch.shape.batch) for batch in plan(lengths, buckets, fixed_shapes=True))


def with_overhead(length: int, batch: int) -> float:
    return 40.0 + length * batch**0.8 + (length / 8) ** 2


def brute_force(lengths: Sequence[int], k: int, cost: Cost, batches: Sequence[int]) -> float:
    best = np.inf
    sizes = sorted(set(lengths))
    for count in range(1, min(k, len(sizes)) + 1):
        for chosen in itertools.combinations(sizes[:-1], count - 1):
            for each in itertools.product(batches, repeat=count):
                buckets = [Shape(size, batch) for size, batch in zip((*chosen, sizes[-1]), each, strict=True)]
                best = min(best, total(lengths, buckets, cost))
    return best


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 4),
    st.sampled_from([positions, with_overhead]),
    st.sampled_from([(1,), (1, 4), (3, 2)]),
)
@settings(max_examples=60, deadline=None)
def test_no_other_buckets_cost_less(lengths: list[int], k: int, cost: Cost, batches: tuple[int, ...]) -> None:
    found = suggest_buckets(lengths, k, cost=cost, batch_sizes=batches)
    assert len(found) <= k and list(found) == sorted(found)
    assert all(choose_bucket(length, found) for length in lengths)
    assert total(lengths, found, cost) == pytest.approx(brute_force(lengths, k, cost, batches))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_a_histogram_is_as_good_and_more_buckets_never_cost_more(lengths: list[int], k: int) -> None:
    counted = {length: lengths.count(length) for length in lengths}
    found = suggest_buckets(lengths, k)
    assert found == suggest_buckets(counted, k)
    assert total(lengths, suggest_buckets(lengths, k + 1), positions) <= total(lengths, found, positions)


def test_one_bucket_a_length_has_no_padding() -> None:
    assert suggest_buckets([5, 9, 9, 30], 3) == (Shape(5), Shape(9), Shape(30))
    assert suggest_buckets([5, 5], 3) == (Shape(5),)


def test_a_shape_of_infinite_cost_is_taken_by_nobody() -> None:
    def cost(length: int, batch: int) -> float:
        return np.inf if length * batch > 40 else 10 + length * batch

    found = suggest_buckets([5] * 9 + [20] * 4, 3, cost=cost, batch_sizes=(4, 1, 2), longest=30)
    assert found == (Shape(5, 4), Shape(20, 2), Shape(30, 4))  # nobody pays for what no row takes


def test_the_last_bucket_may_be_longer_than_every_row() -> None:
    assert suggest_buckets([5, 9], 2, longest=64) == (Shape(9), Shape(64))
    assert suggest_buckets([5, 9], 3, longest=64) == (Shape(5), Shape(9), Shape(64))
    assert suggest_buckets([5, 9], 1, longest=64) == (Shape(64),)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(lengths=[]), "no lengths"),
        (dict(lengths=[3, 0]), "0"),
        (dict(lengths={3: -1}), "-1"),
        (dict(lengths=[3], k=0), "0"),
        (dict(lengths=[3], batch_sizes=[2, True]), "True"),
        (dict(lengths=[80], longest=64), "80 tokens"),
    ],
)
def test_what_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        suggest_buckets(**arguments)
    assert words in str(caught.value)
