"""What a day leaves out of the sweep, the next two days run."""

from hypothesis import given
from hypothesis import strategies as st

from tests.rotation import DAY, PARTS, todays


@given(st.integers(0, 400), st.floats(0, 4e9))
def test_three_days_in_a_row_run_every_test_once(count: int, now: float) -> None:
    items = list(range(count))
    days = [todays(items, now + day * DAY) for day in range(PARTS)]
    assert sorted(item for day in days for item in day) == items
    assert max(map(len, days)) - min(map(len, days)) <= 1


def test_a_run_past_midnight_keeps_its_part() -> None:
    assert todays(range(9), 5 * DAY) == todays(range(9), 6 * DAY - 1) != todays(range(9), 6 * DAY)
