"""The check of what a session is given: what it remembers changes no answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.backends import input_check
from QEfficient.errors import InputError
from QEfficient.records import Shape, TensorSpec

INPUTS = tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in ("input_ids", "attention_mask"))
BUCKETS = (Shape(4, 2), Shape(8, 2))


class Duck:
    """Looks like an array, and its shape can't be a key."""

    def __init__(self, array: np.ndarray, kind: type) -> None:
        self.shape, self.dtype = kind(array.shape), array.dtype


MADE = (
    *[lambda array: array] * 6,
    lambda array: array.tolist(),
    lambda array: Duck(array, tuple),
    lambda array: Duck(array, list),
)
arrays = st.builds(
    lambda shape, dtype, made: made(np.ones(shape, dtype)),
    st.sampled_from([(2, 4), (2, 8), (1, 3), (2, 9), (0, 4), (4,)]),
    st.sampled_from(["int64", "int64", "int64", "int32"]),
    st.sampled_from(MADE),
)
calls = st.dictionaries(st.sampled_from(["input_ids", "attention_mask", "token_type_ids"]), arrays, max_size=3)


def answer(check: Any, given: dict[str, Any]) -> str | None:
    try:
        check(given)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("fixed", [False, True], ids=["any shape", "compiled shapes"])
@given(calls=st.lists(calls, max_size=12))
def test_what_fitted_before_changes_no_answer(fixed: bool, calls: list[dict[str, Any]]) -> None:
    fits = {"input_ids": np.ones((2, 4), np.int64), "attention_mask": np.ones((2, 4), np.int64)}
    kept = input_check.InputCheck(INPUTS, BUCKETS, fixed_shapes=fixed)
    for call in [fits, *calls, fits, *calls]:
        plain = answer(input_check.InputCheck(INPUTS, BUCKETS, fixed_shapes=fixed).check, call)
        assert answer(kept.check, call) == plain
    assert kept.check(fits) == ((2, 4), (2, 4))


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_check, "_REMEMBERED", 3)
    kept = input_check.InputCheck(INPUTS, BUCKETS, fixed_shapes=False)
    for batch in range(1, 20):
        kept.check({spec.name: np.ones((batch, 5), np.int64) for spec in INPUTS})
        assert len(kept._known) <= 3
