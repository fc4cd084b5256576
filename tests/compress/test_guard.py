"""What a step that makes a model smaller may cost, and what is written down of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig

from QEfficient.compress.guard import Drop, Guard, parse_guard
from QEfficient.compress.record import CompressionStep, add_step, own_part, steps_of
from QEfficient.errors import CompressionRefusedError, OptionError

VALUES = st.floats(0, 1)


@given(before=VALUES, after=VALUES, limit=st.floats(0, 1), higher=st.booleans())
def test_a_drop_is_refused_exactly_when_it_is_past_the_limit(
    before: float, after: float, limit: float, higher: bool
) -> None:
    drop = Drop("accuracy", before, after, higher)
    worse = before - after if higher else after - before
    guard = Guard({"accuracy": limit})
    if worse > limit + 1e-9:
        with pytest.raises(CompressionRefusedError, match="accuracy") as caught:
            guard.check([drop], "Pruning", "ask for less")
        assert caught.value.drops == (drop,)
        assert f"{limit:g}" in str(caught.value) and "ask for less" in str(caught.value)
    else:
        guard.check([drop], "Pruning", "ask for less")


def test_one_point_is_one_point() -> None:
    assert 0.87 - 0.86 > 0.01  # as float64 has it
    Guard({"accuracy": 0.01}).check([Drop("accuracy", 0.87, 0.86)], "Pruning", "ask for less")
    with pytest.raises(CompressionRefusedError):
        Guard({"accuracy": 0.01}).check([Drop("accuracy", 0.87, 0.8599)], "Pruning", "ask for less")


@pytest.mark.parametrize(("before", "after"), [(0.5, math.nan), (math.nan, 0.5), (math.nan, math.nan)])
def test_what_is_not_defined_is_past_every_limit(before: float, after: float) -> None:
    with pytest.raises(CompressionRefusedError):
        Guard({"spearman": 1e9}).check([Drop("spearman", before, after)], "Pruning", "ask for less")


def test_a_metric_that_is_not_measured_is_named_with_its_neighbours() -> None:
    with pytest.raises(OptionError, match="Did you mean 'accuracy'"):
        Guard({"acuracy": 0.1}).check([Drop("accuracy", 1, 1)], "Pruning", "ask for less")


@pytest.mark.parametrize(
    "max_drop", [{}, 0.01, [("accuracy", 0.1)], {"accuracy": -0.1}, {"accuracy": math.nan}, {"accuracy": "1"}, {1: 0.1}]
)
def test_limits_that_are_none_are_refused(max_drop: object) -> None:
    with pytest.raises(OptionError, match="max_drop"):
        parse_guard(max_drop)


def test_no_limits_no_guard() -> None:
    assert parse_guard(None) is None


def test_steps_go_with_the_config(tmp_path) -> None:
    config = BertConfig()
    assert steps_of(config) == []
    drop = Drop("accuracy", 0.9, math.nan)
    config.qefficient = {"widths": [1]}
    add_step(config, CompressionStep("prune", {"share": 0.3}, {"parameters": [10, 7]}, drops=(drop,)))
    add_step(config, CompressionStep("prune_vocabulary", {}, {}, max_drop={"accuracy": 0.1}))
    config.save_pretrained(tmp_path)
    again = BertConfig.from_pretrained(tmp_path)
    assert (
        [step["step"] for step in steps_of(again)]
        == ["prune", "prune_vocabulary"]
        == [step["step"] for step in steps_of(again.to_dict())]
    )
    assert steps_of(again)[0]["metrics"] == [drop.to_dict()] and drop.to_dict()["after"] is None
    assert own_part(again)["widths"] == [1]


@pytest.mark.parametrize("found", [None, 3, [], {"compressed": 3}, {"compressed": [3, None]}])
def test_what_is_no_record_counts_as_none(found: object) -> None:
    assert steps_of({"qefficient": found}) == []
