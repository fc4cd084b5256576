"""SIGKILL at any moment: never an entry that loads and is wrong, and nothing to clean by hand."""

from pathlib import Path

from QEfficient import program as programs
from QEfficient.cache import Cache, check_files
from QEfficient.records import MODEL, GraphFacts, Manifest, Program, Shape, Target
from tests.cache_builds import KEY, NAME, STAGE, assert_right, build, leftovers
from tests.killing import Outcome, Zygote, kill_at_points

SCRIPT = """
from functools import partial
from tests.cache_builds import KEY, NAME, STAGE, build
from tests.killing import serve
from QEfficient.cache import Cache
import filelock  # its import is no part of the stage

serve(stage=lambda: Cache().get_or_build(NAME, STAGE, KEY, partial(build, pause=0.005)))
"""


def test_a_killed_build_leaves_nothing_that_lies(tmp_path: Path) -> None:
    def check(outcome: Outcome) -> None:
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
        path, hit = cache.get_or_build(NAME, STAGE, KEY, build)
        assert hit == bool(entries)
        assert_right(path)
        assert leftovers(outcome.home) == []

    script = tmp_path / "child.py"
    script.write_text(SCRIPT)
    with Zygote(script) as zygote:
        kill_at_points(zygote, "stage", tmp_path / "homes", check)


SAVE = """
import os, sys
from pathlib import Path
from tests.killing import serve
from QEfficient import program
import filelock  # as above

source = program.load(sys.argv[1])
serve(stage=lambda: program.save(source, Path(os.environ["QEFF_HOME"], "saved")))
"""


def make_program(folder: Path, sdk: str) -> Program:
    folder.mkdir()
    for index in range(8):
        (folder / f"{index}.bin").write_bytes(sdk.encode() * 300_000)
    graphs = {MODEL: GraphFacts((Shape(32),), (), (), "0.bin")}
    return programs.write(Program(folder, Manifest(Target("qaic"), graphs, sdk=sdk)))


def put_old_program(home: Path) -> None:
    make_program(home / "saved", "1")


def test_a_killed_save_leaves_the_old_program_the_new_one_or_none(tmp_path: Path) -> None:
    new = make_program(tmp_path / "new", "2")

    def check(outcome: Outcome) -> None:
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

    script = tmp_path / "child.py"
    script.write_text(SAVE)
    with Zygote(script, new.path) as zygote:
        kill_at_points(zygote, "stage", tmp_path / "homes", check, seed=put_old_program)
