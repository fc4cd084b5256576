"""Which of the tests that are marked ``sweep`` run on a day: a third, so that three days run them all."""

from collections.abc import Sequence
from typing import TypeVar

PARTS = 3
DAY = 86_400
"""Seconds."""

Item = TypeVar("Item")


def todays(items: Sequence[Item], seconds: float) -> list[Item]:
    """The part of a day.

    Args:
        items: All of them, in the same order each day.
        seconds: Since the epoch.
    """
    part = int(seconds // DAY) % PARTS
    return list(items[part::PARTS])  # neighbours are alike, and so each day takes about as long
