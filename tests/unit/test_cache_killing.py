"""SIGKILL at any moment: never an entry that loads and is wrong, and nothing to clean by hand."""

import functools
from pathlib import Path

import pytest

from QEfficient.cache import Cache, check_files
from tests.cache_builds import KEY, NAME, STAGE, assert_right, build, leftovers
from tests.killing import kill_at_points

SCRIPT = """
from functools import partial
from tests.cache_builds import KEY, NAME, STAGE, build
from tests.killing import stage
from QEfficient.cache import Cache
import filelock  # its import is no part of the stage

with stage():
    Cache().get_or_build(NAME, STAGE, KEY, partial(build, pause=0.005))
"""


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_lies(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(SCRIPT)
    unfinished = 0
    for outcome in kill_at_points(script, tmp_path / "homes"):
        cache = Cache(outcome.home)
        entries = cache.entries()
        assert len(entries) <= 1
        if outcome.point == "before":
            assert not entries
        if outcome.point == "after":
            assert entries
        for entry in entries:
            assert entry.problem is None and entry.envelope is not None
            check_files(entry.path, entry.envelope, digests=True)
            assert_right(entry.path)
        path, hit = cache.get_or_build(NAME, STAGE, KEY, functools.partial(build))
        assert hit == bool(entries)
        assert_right(path)
        assert leftovers(outcome.home) == []
        unfinished += not outcome.finished
    assert unfinished >= 20  # the kills came in time
