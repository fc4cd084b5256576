"""Which units stay: as few parameters too many as can be, whole blocks, and more asked for is more of the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.compress.pruning.groups import UnitGroup
from QEfficient.compress.pruning.importance import Importance
from QEfficient.compress.pruning.select import layer_importance, select
from QEfficient.errors import OptionError

Case = tuple[tuple[UnitGroup, ...], Importance, int, int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Groups with importances, what all layers have together, and a block."""
    groups: list[UnitGroup] = []
    for layer in range(draw(st.integers(1, 4))):
        heads, inner = draw(st.integers(1, 6)), draw(st.integers(1, 40))
        groups.append(UnitGroup(layer, "heads", f"{layer}.heads", heads, 4, draw(st.integers(1, 60))))
        groups.append(UnitGroup(layer, "feed_forward", f"{layer}.inner", inner, 1, draw(st.integers(1, 9))))
    values = st.floats(0, 1e6)
    importance = {
        one.output: np.array(draw(st.lists(values, min_size=one.units, max_size=one.units))) for one in groups
    }
    total = sum(one.units * one.parameters for one in groups) + draw(st.integers(0, 50))
    used = {one.output: draw(st.floats(0, 1)) for one in groups}
    return tuple(groups), Importance(importance, used), total, draw(st.integers(1, 9))


def removed(groups: tuple[UnitGroup, ...], kept: dict[str, tuple[int, ...]]) -> int:
    return sum((one.units - len(kept[one.output])) * one.parameters for one in groups)


@given(case=cases(), shares=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_a_share_is_reached_by_as_little_as_can_be(case: Case, shares: tuple[float, float]) -> None:
    groups, importance, total, block = case
    found = []
    for share in sorted(shares):
        try:
            kept = select(groups, importance, share, total, block=block)
        except OptionError as error:
            everything = sum(
                (one.units - (1 if one.kind == "heads" else min(block, one.units))) * one.parameters for one in groups
            )
            assert everything / total < share and ("at most" if everything else "nothing is left") in str(error)
            return
        gone = removed(groups, kept)
        largest = max(one.parameters * (1 if one.kind == "heads" else block) for one in groups)
        assert share * total <= gone < share * total + largest
        for one in groups:
            stays = kept[one.output]
            assert stays and list(stays) == sorted(set(stays)) and max(stays) < one.units
            if one.kind == "feed_forward" and len(stays) < one.units:
                assert len(stays) % block == 0
            least = min((importance.values[one.output][unit] for unit in stays), default=math.inf)
            assert all(importance.values[one.output][unit] <= least for unit in set(range(one.units)) - set(stays))
        found.append(kept)
    smaller, larger = found
    assert all(set(larger[name]) <= set(smaller[name]) for name in larger)


LAYER = (UnitGroup(0, "heads", "heads", 4, 8, 100), UnitGroup(0, "feed_forward", "inner", 70, 1, 10))
ALL = {"heads": 1.0, "inner": 1.0}
EVEN = Importance({"heads": np.ones(4), "inner": np.ones(70)}, ALL)


def test_what_is_cheap_for_its_parameters_goes_first() -> None:
    dear = Importance(
        {"heads": np.array([3.0, 0.1, 2.0, 4.0]), "inner": np.full(70, 1.0)}, ALL
    )  # a part a parameter: 0.001 and 0.1
    assert select(LAYER, dear, 0.05, 1100)["heads"] == (0, 2, 3)
    kept = select(LAYER, dear, 0.1, 1100)
    assert kept["heads"] == (0, 3) and len(kept["inner"]) == 70


def test_kinds_and_blocks_are_kept_to() -> None:
    kept = select(LAYER, EVEN, 0.2, 1100, kinds=["feed_forward"])
    assert len(kept["heads"]) == 4 and len(kept["inner"]) == 32  # 6 first, then 32
    assert len(select(LAYER, EVEN, 0.02, 1100, kinds=["feed_forward"])["inner"]) == 64
    assert len(select(LAYER, EVEN, 0.2, 1100, kinds=["heads"])["inner"]) == 70
    assert len(select(LAYER, EVEN, 0.03, 1100, kinds=["feed_forward"], block=1)["inner"]) == 66


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, math.nan, math.inf, "0.3", None, True, 0.7])
def test_a_share_that_can_not_be_had_says_what_can(share: Any) -> None:
    with pytest.raises(OptionError, match=r"at most 0\.618"):  # 3 heads and 38 units of 1100
        select(LAYER, EVEN, share, 1100)


def test_a_block_is_a_number_of_units() -> None:
    with pytest.raises(OptionError, match="block"):
        select(LAYER, EVEN, 0.1, 1100, block=0)


def test_a_block_that_leaves_nothing_to_take_is_said() -> None:
    with pytest.raises(OptionError, match=r"(?s)nothing is left.*block=100.*below the 70 units.*smaller block"):
        select(LAYER, EVEN, 0.1, 1100, kinds=["feed_forward"], block=100)


def test_what_costs_no_time_stays() -> None:
    """Of a last layer that is computed for the first token only, little is gained."""
    second = UnitGroup(1, "feed_forward", "last", 70, 1, 10)
    values = {**EVEN.values, "last": np.full(70, 0.5)}
    taken = []
    for used in (1.0, 1 / 30):
        kept = select((*LAYER, second), Importance(values, ALL | {"last": used}), 0.05, 1800, kinds=["feed_forward"])
        taken.append((70 - len(kept["inner"]), 70 - len(kept["last"])))
    assert taken == [(0, 38), (38, 0)]


def test_a_layer_is_as_important_as_its_units_together() -> None:
    second = tuple(UnitGroup(1, one.kind, f"1.{one.output}", one.units, one.width, one.parameters) for one in LAYER)
    both = {**EVEN.values, **{f"1.{name}": 2 * values for name, values in EVEN.values.items()}}
    assert layer_importance((*LAYER, *second), Importance(both, {})) == {0: 74.0, 1: 148.0}
