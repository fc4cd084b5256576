"""Artefacts that may never be kept: made to be measured, and gone where what they measure is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from QEfficient.cache.store import Cache
from QEfficient.records import Json


class TrialCache(Cache):
    """A cache aside: what the other one has is found there, and nothing is written to it.

    Args:
        base: The other one.
        home: An empty folder on its disk.
    """

    def __init__(self, base: Cache, home: Path) -> None:
        super().__init__(home)
        self.base = base

    def get_or_build(
        self, name: str, stage: str, ingredients: Mapping[str, Json], build: Callable[[Path], None]
    ) -> tuple[Path, bool]:
        """As :meth:`Cache.get_or_build`; the other cache is looked into first."""
        found = self.base.lookup(name, stage, ingredients)
        return super().get_or_build(name, stage, ingredients, build) if found is None else (found, True)


@contextmanager
def trial_cache(base: Cache) -> Iterator[TrialCache]:
    """A cache aside, gone at the end with all that :meth:`Cache.adopt` did not move to the other one."""
    with base.work_folder() as folder:
        home = folder / "trial"
        home.mkdir()
        yield TrialCache(base, home)
