"""Models measured in turns, on a clock that moves only while one of them runs."""

from collections.abc import Sequence

import numpy as np
import pytest

from QEfficient.errors import OptionError
from QEfficient.evaluate.comparison.speed import SINGLES, Speed, measure_speeds


class Clock:
    """Stands still but for what the models take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Model:
    """Answers a row in ``each`` seconds, after ``start`` seconds of every call."""

    def __init__(self, clock: Clock, each: float, start: float = 0.0) -> None:
        self.clock, self.each, self.start = clock, each, start
        self.calls: list[list[int]] = []

    def __call__(self, rows: Sequence[int]) -> None:
        self.calls.append(list(rows))
        self.clock.now += self.start + self.each * len(rows)


def test_rates_and_latencies_are_those_of_the_clock() -> None:
    clock = Clock()
    models = [Model(clock, 0.001), Model(clock, 0.004, start=0.002)]
    fast, slow = measure_speeds(models, 1000, clock=clock)
    assert fast.rate == pytest.approx(1000)
    assert fast.quartiles == pytest.approx((1000, 1000))
    assert fast.p50 == pytest.approx(0.001)
    assert slow.rate == pytest.approx(slow.rows / (0.002 + 0.004 * slow.rows))
    assert slow.p50 == pytest.approx(0.006)
    assert len(fast.latencies) == len(slow.latencies) == SINGLES
    assert fast.rows == slow.rows
    assert len(fast.rates) == len(slow.rates) >= 5


def test_every_model_meets_the_same_rows_in_turns_of_random_order() -> None:
    clock = Clock()
    order: list[str] = []

    def named(name: str) -> Model:
        class Named(Model):
            def __call__(self, rows: Sequence[int]) -> None:
                if len(rows) > 1:
                    order.append(name)
                super().__call__(rows)

        return Named(clock, 0.001)

    first, second = named("a"), named("b")
    measure_speeds([first, second], 500, seconds=4, clock=clock)
    assert first.calls == second.calls
    turns = order[4:]  # behind two calls a model of some rows, for the size of a round
    assert turns.count("a") == turns.count("b")
    assert {*zip(turns[::2], turns[1::2], strict=True)} == {("a", "b"), ("b", "a")}
    assert all(0 <= row < 500 for call in first.calls for row in call)
    assert all(len({*call}) == len(call) for call in first.calls)


def test_the_seed_fixes_the_rows() -> None:
    def calls(seed: int) -> list[list[int]]:
        clock = Clock()
        model = Model(clock, 0.01)
        measure_speeds([model], 50, seed=seed, clock=clock)
        return model.calls

    assert calls(3) == calls(3) != calls(4)


@pytest.mark.parametrize("each", [0.0001, 0.01, 0.1])
def test_the_time_is_kept(each: float) -> None:
    clock = Clock()
    model = Model(clock, each)
    [speed] = measure_speeds([model], 100_000, seconds=2, clock=clock)
    timed = sum(speed.latencies) + sum(speed.rows / rate for rate in speed.rates)
    assert timed <= 2 + 0.5 + each  # one round may have begun just before the end


def test_a_very_slow_model_is_measured_a_little() -> None:
    clock = Clock()
    [speed] = measure_speeds([Model(clock, 60.0)], 1000, seconds=1, clock=clock)
    assert (speed.rows, len(speed.rates), len(speed.latencies)) == (1, 1, 5)


def test_a_slow_moment_at_the_start_does_not_make_single_rows_of_the_rounds() -> None:
    clock = Clock()
    model = Model(clock, 0.001)
    calls = 0

    def run(rows: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        model(rows)
        clock.now += 5.0 if calls == 4 else 0.0  # the call by which the size is found

    [speed] = measure_speeds([run], 1000, clock=clock)
    assert speed.rows == 8
    assert speed.rate == pytest.approx(1000)


def test_few_rows_are_all_run() -> None:
    clock = Clock()
    [speed] = measure_speeds([Model(clock, 1e-4)], 3, clock=clock)
    assert speed.rows == 3
    assert speed.rate == pytest.approx(1e4)


def test_a_clock_that_does_not_move_gives_numbers() -> None:
    [speed] = measure_speeds([lambda rows: None], 10, clock=lambda: 1.0)
    assert np.isfinite(speed.rate) and speed.p50 == 0


def test_the_spread_is_that_of_the_rounds() -> None:
    speed = Speed((100.0, 200.0, 300.0, 400.0, 500.0), (0.1, 0.3, 0.2), 8)
    assert speed.to_dict() == {
        "unit": "rows",
        "rows_per_second": 300.0,
        "rows_per_second_low": 200.0,
        "rows_per_second_high": 400.0,
        "p50_seconds": 0.2,
        "rows_a_round": 8,
        "rounds": 5,
        "single_calls": 3,
    }


def test_nothing_to_measure() -> None:
    assert measure_speeds([], 10) == ()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "2", True])
def test_seconds_must_be_a_length_of_time(seconds: float) -> None:
    with pytest.raises(OptionError, match="length of time"):
        measure_speeds([lambda rows: None], 10, seconds=seconds)


def test_no_rows_are_refused() -> None:
    with pytest.raises(OptionError, match="rows"):
        measure_speeds([lambda rows: None], 0)


def test_what_a_model_raises_comes_out() -> None:
    def fail(rows: Sequence[int]) -> None:
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        measure_speeds([fail], 10)
