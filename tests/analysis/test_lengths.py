"""How texts fill the buckets."""

from __future__ import annotations

import pytest

from QEfficient.analysis.lengths import fill
from QEfficient.analysis.record import BucketLoad
from QEfficient.errors import UsageError
from QEfficient.records import Shape

BUCKETS = (Shape(8), Shape(16), Shape(32))


def test_each_row_goes_to_the_smallest_bucket_that_holds_it() -> None:
    found = fill([3, 8, 9, 40, 40], BUCKETS)
    assert found.buckets == (BucketLoad(8, 2, 11, 5), BucketLoad(16, 1, 9, 7), BucketLoad(32, 2, 64, 0))
    assert (found.rows, found.shortened, found.histogram) == (5, 2, {3: 1, 8: 1, 9: 1, 32: 2})
    assert found.efficiency == pytest.approx(84 / 96)


def test_a_model_that_shortens_texts_before_the_longest_bucket_is_full() -> None:
    found = fill([40], BUCKETS, limit=20)
    assert found.buckets[-1] == BucketLoad(32, 1, 20, 12)
    assert found.shortened == 1


def test_no_texts_and_no_lengths_are_errors() -> None:
    with pytest.raises(UsageError, match="nothing to fill"):
        fill([], BUCKETS)
    with pytest.raises(UsageError, match="one size"):
        fill([3], (Shape(),))
