"""SIGKILL at any moment: never an entry that loads and is wrong, and nothing to clean by hand."""

import functools
from pathlib import Path

import pytest

from QEfficient import program as programs
from QEfficient.cache import Cache, check_files
from QEfficient.records import Bucket, Manifest, Program, Target
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


SAVE = """
import os
from pathlib import Path
from tests.killing import stage
from QEfficient import program
import filelock  # as above

source = program.load({source!r})
with stage():
    program.save(source, Path(os.environ["QEFF_HOME"], "saved"))
"""


def make_program(folder: Path, sdk: str) -> Program:
    folder.mkdir()
    for index in range(8):
        (folder / f"{index}.bin").write_bytes(sdk.encode() * 300_000)
    return programs.write(Program(folder, Manifest(Target("qaic"), (Bucket(32),), (), (), "0.bin", sdk=sdk)))


def put_old_program(home: Path) -> None:
    make_program(home / "saved", "1")


@pytest.mark.slow
def test_a_killed_save_leaves_the_old_program_the_new_one_or_none(tmp_path: Path) -> None:
    new = make_program(tmp_path / "new", "2")
    script = tmp_path / "child.py"
    script.write_text(SAVE.format(source=str(new.path)))
    unfinished = 0
    for outcome in kill_at_points(script, tmp_path / "homes", seed=put_old_program):
        saved = outcome.home / "saved"
        if outcome.point == "before":  # the old one has just made room
            assert not saved.exists()
        if saved.exists():
            assert programs.load(saved, check=True).manifest.sdk in ("1", "2")
        if outcome.point == "after":
            assert programs.load(saved).manifest == new.manifest
        assert programs.save(new, saved).manifest == new.manifest
        programs.load(saved, check=True)
        assert [path.name for path in outcome.home.iterdir()] == ["saved"]
        unfinished += not outcome.finished
    assert unfinished >= 20
