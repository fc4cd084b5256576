"""Kills a stage with SIGKILL at many points of its life.

A test writes a small script that does its set-up and then runs the stage in ``with stage():``. ``kill_at_points``
measures how long that block takes, then runs the script again and again, each time with an empty cache, and kills it:

- at ``drawn`` moments spread over the measured duration,
- ``held`` times between the last write and the rename that publishes the result,
- ``published`` times between that rename and the removal of the work folder.

The last two are reached by holding the child at its rename: the hook lives in the child only.
"""

import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_HOLD = "TEST_HOLD_RENAME"
_LIMIT = 300.0  # seconds that a child may take


@dataclass(frozen=True)
class Outcome:
    """A child that was killed: its cache, the kind of point, seconds since the stage (or the hold) began."""

    home: Path
    point: str
    delay: float
    finished: bool
    """The stage was over before the kill arrived."""


@contextmanager
def stage() -> Iterator[None]:
    """For the child: tells the parent when the stage begins and ends."""
    if os.environ.get(_HOLD):
        _hold_at_rename(os.environ[_HOLD])
    print("BEGIN", flush=True)
    yield
    print("END", flush=True)


def _hold_at_rename(moment: str) -> None:
    rename = os.rename

    def held(src: str | Path, dst: str | Path) -> None:
        publishes = Path(src).name == "new"  # as the cache and ``program.copy_folder`` name it
        if publishes and moment == "before":
            _wait_for_death()
        rename(src, dst)
        if publishes and moment == "after":
            _wait_for_death()

    os.rename = held  # type: ignore[assignment]


def _wait_for_death() -> None:
    print("HELD", flush=True)
    time.sleep(_LIMIT)


def kill_at_points(
    script: Path,
    folder: Path,
    *,
    drawn: int = 24,
    held: int = 5,
    published: int = 3,
    seed: Callable[[Path], None] | None = None,
) -> Iterator[Outcome]:
    """Yields after each kill. ``folder`` gets one ``QEFF_HOME`` a run; ``seed`` may fill it before the child starts."""
    draw = random.Random(20240229)

    def new_home(name: str) -> Path:
        home = folder / name
        home.mkdir(parents=True)
        if seed is not None:
            seed(home)
        return home

    duration = _measure(script, new_home("measured"))
    for index in range(drawn):
        delay = duration * (index + draw.random()) / drawn
        yield _kill(script, new_home(f"drawn-{index}"), "drawn", delay)
    for moment, count in (("before", held), ("after", published)):
        for index in range(count):
            yield _kill(script, new_home(f"{moment}-{index}"), moment, draw.random() * 0.02)


def run_to_end(script: Path, home: Path) -> None:
    """Runs the script undisturbed."""
    _measure(script, home)


def _measure(script: Path, home: Path) -> float:
    with _child(script, home) as child:
        _wait_for(child, "BEGIN")
        started = time.perf_counter()
        _wait_for(child, "END")
        duration = time.perf_counter() - started
        assert child.wait(_LIMIT) == 0
    return duration


def _kill(script: Path, home: Path, point: str, delay: float) -> Outcome:
    with _child(script, home, hold="" if point == "drawn" else point) as child:
        _wait_for(child, "BEGIN" if point == "drawn" else "HELD")
        time.sleep(delay)
        child.kill()
        child.wait(_LIMIT)
        assert child.stdout is not None
        finished = b"END" in child.stdout.read()
    return Outcome(home, point, delay, finished)


@contextmanager
def _child(script: Path, home: Path, hold: str = "") -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "QEFF_HOME": str(home), "PYTHONPATH": path, _HOLD: hold}
    with open(home.with_suffix(".log"), "wb") as log:
        command = [sys.executable, str(script)]
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, bufsize=0)
        try:
            with child:
                yield child
        except BaseException:
            child.kill()
            raise


def _wait_for(child: subprocess.Popen[bytes], word: str) -> None:
    assert child.stdout is not None
    end = time.monotonic() + _LIMIT
    while select.select([child.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
        line = child.stdout.readline()
        if line.strip() == word.encode():
            return
        if not line:
            break
    raise AssertionError(f"the child did not come to {word}; see its log beside QEFF_HOME")
