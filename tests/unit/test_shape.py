import pickle
import random
from dataclasses import FrozenInstanceError

import pytest

from QEfficient import records
from QEfficient.cache import from_json, to_json
from QEfficient.records import Shape, TensorSpec

CACHE = TensorSpec("past_key.0", "float32", ("batch_size", 4, "ctx_len", 32))


def test_a_shape_has_a_size_for_any_named_dim() -> None:
    shape = Shape(1, 4, {"ctx_len": 128})
    assert list(shape.sizes.items()) == [("batch_size", 4), ("seq_len", 1), ("ctx_len", 128)]
    assert (shape.length, shape.batch) == (1, 4)
    assert CACHE.at(shape) == (4, 4, 128, 32)
    assert str(shape) == "batch 4, length 1, ctx_len 128"


def test_what_is_left_out() -> None:
    assert Shape(32).sizes == {"batch_size": 1, "seq_len": 32}
    image = Shape(batch=4)  # of one size: there is no length to choose
    assert image.sizes == {"batch_size": 4} and image.length == 1 and image != Shape(1, 4)


def test_length_and_batch_go_before_the_sizes_that_are_taken_over() -> None:
    largest = Shape(64, 8, {"ctx_len": 128})
    assert Shape(5, 2, largest.sizes) == Shape(5, 2, {"ctx_len": 128})
    assert Shape(sizes=largest.sizes) == largest


def test_shapes_order_by_length_then_batch_then_the_rest() -> None:
    ascending = [
        Shape(batch=1),
        Shape(batch=3),
        Shape(2, 9),
        Shape(8, 1),
        Shape(8, 2, {"ctx_len": 64}),
        Shape(8, 2, {"ctx_len": 128}),
        Shape(16),
    ]
    shuffled = ascending.copy()
    random.Random(0).shuffle(shuffled)
    assert sorted(shuffled) == ascending and max(shuffled) == ascending[-1] and ascending[0] <= ascending[1]


def test_equal_shapes_are_one_key_whatever_the_order_of_their_dims() -> None:
    one, other = Shape(8, 1, {"a": 2, "b": 3}), Shape(sizes={"b": 3, "seq_len": 8, "a": 2})
    assert one == other and hash(one) == hash(other) and len({one, other, Shape(8)}) == 2


def test_a_shape_is_frozen_and_travels() -> None:
    shape = Shape(8, 1, {"ctx_len": 64})
    with pytest.raises(FrozenInstanceError):
        shape.sizes = {}  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(shape)) == shape
    assert to_json(shape) == {"sizes": {"batch_size": 1, "seq_len": 8, "ctx_len": 64}}
    assert from_json(Shape, to_json(shape)) == shape


def test_the_largest_has_each_dim_at_its_largest() -> None:
    prefill, decode = Shape(32, 1, {"ctx_len": 64}), Shape(1, 8, {"ctx_len": 128})
    assert Shape.largest([prefill, decode]) == Shape(32, 8, {"ctx_len": 128})


def test_the_old_name_works_for_one_release_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match="is now Shape"):
        old = records.Bucket
    bucket = old(32, 4)
    assert bucket == old(length=32, batch=4) == Shape(32, 4) and isinstance(bucket, old)
    assert (bucket.length, bucket.batch, bucket.sizes) == (32, 4, {"batch_size": 4, "seq_len": 32})
    with pytest.raises(AttributeError, match="Buket"):
        _ = records.Buket
