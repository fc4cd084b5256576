"""Kills a stage with SIGKILL, or interrupts it with SIGINT, at many points of its life.

A script does its set-up once (imports, above all), then calls ``serve`` with the functions that it can run. ``Zygote``
starts the script and has it fork a child for each run, so that a run costs what the stage costs and no more.

``kill_at_points`` measures how long a run takes, then has it run again and again, each time in a ``QEFF_HOME`` of its
own, and kills it:

- at ``drawn`` moments spread over the measured duration,
- ``held`` times between the last write and the rename that publishes the result,
- ``published`` times between that rename and the removal of the work folder.

The last two are reached by holding the child at its rename: the hook lives in the child only.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

ROOT = Path(__file__).resolve().parents[1]
_LIMIT = 300.0  # seconds that a child may take
_SIDE_BY_SIDE = 2  # points that are tried at once

Point = Literal["drawn", "before", "after"]

# ------------------------------------------------------------------------------------------ in the script


def serve(**runs: Callable[[], object]) -> None:
    """For the script, last: forks a child for each order that comes on stdin, until stdin ends.

    A child says ``BEGIN``, then ``END``, ``INTERRUPTED`` (``KeyboardInterrupt`` came out of the run) or ``FAILED``
    (another exception did; it is in the log).
    """
    print("READY", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            os.waitpid(order["reap"], 0)
            continue
        child = os.fork()
        if child == 0:
            _run(runs[order["run"]], order)
        print(child, flush=True)


def _run(run: Callable[[], object], order: dict[str, str]) -> None:
    """The child's whole life. It ends here: what the script set up is not the child's to tear down."""
    try:
        _run_and_tell(run, order)
    finally:
        os._exit(0)


def _run_and_tell(run: Callable[[], object], order: dict[str, str]) -> None:
    os.environ["QEFF_HOME"] = order["home"]
    for name, flags, descriptor in (("words", os.O_WRONLY, 1), ("log", os.O_WRONLY | os.O_APPEND, 2)):
        os.dup2(os.open(order[name], flags), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    if order["hold"]:
        _hold_at_rename(order["hold"])
    try:
        print("BEGIN", flush=True)
        run()
        word = "END"
    except KeyboardInterrupt:
        word = "INTERRUPTED"
    except BaseException:  # whatever it is, the parent fails the test with it
        traceback.print_exc()
        word = "FAILED"
    print(word, flush=True)


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


# ------------------------------------------------------------------------------------------ in the test


class Child:
    """One run of a stage, in a process of its own."""

    def __init__(self, pid: int, words: int, log: Path) -> None:
        self.pid, self.log = pid, log
        self._words, self._text = words, b""

    def wait_for(self, *words: str) -> str:
        """Waits until the child says one of ``words``."""
        end = time.monotonic() + _LIMIT
        while (said := self._next(end)) is not None:
            if said in words:
                return said
            assert said != "FAILED", self.log.read_text()
        raise AssertionError(f"the child did not come to {words}: {self.log.read_text()}")

    def last_word(self) -> str | None:
        """Waits for the child's end; what it said last, and had not been waited for."""
        last, end = None, time.monotonic() + _LIMIT
        while (said := self._next(end)) is not None:
            last = said
        assert last != "FAILED", self.log.read_text()
        return last

    def _next(self, end: float) -> str | None:
        while b"\n" not in self._text:
            if not select.select([self._words], [], [], max(0.0, end - time.monotonic()))[0]:
                raise AssertionError(f"the child hangs: {self.log.read_text()}")
            chunk = os.read(self._words, 1 << 12)
            if not chunk:
                return None
            self._text += chunk
        line, _, self._text = self._text.partition(b"\n")
        return line.decode().strip()

    def send(self, number: signal.Signals) -> None:
        """The child is not reaped before its words are closed, so the signal can't reach a stranger."""
        os.kill(self.pid, number)


class Zygote:
    """A process that has done a script's set-up, and forks. Usable from many threads, with ``with``.

    Args:
        script: Ends with ``serve(…)``.
        *arguments: For the script.
    """

    def __init__(self, script: Path, *arguments: str | Path) -> None:
        self._command = [sys.executable, str(script), *map(str, arguments)]
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        try:
            assert self._answer() == "READY"
        except BaseException:
            self._process.kill()
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(_LIMIT)

    def _order(self, **order: str | int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    @contextmanager
    def child(self, run: str, home: Path, *, hold: str = "") -> Iterator[Child]:
        """Starts a run; at the end of the block the child is killed if it still lives."""
        with ExitStack() as stack:
            name = f"{home.name}.{run}.{time.monotonic_ns()}"
            words = home.with_name(f"{name}.words")
            os.mkfifo(words)
            descriptor = os.open(words, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, descriptor)
            log = home.with_name(f"{name}.log")
            log.touch()
            with self._lock:
                self._order(run=run, home=str(home), hold=hold, words=str(words), log=str(log))
                child = Child(int(self._answer()), descriptor, log)
            try:
                child.wait_for("BEGIN")
                yield child
            finally:
                child.send(signal.SIGKILL)
                with self._lock:
                    self._order(reap=child.pid)

    def finish(self, run: str, home: Path) -> float:
        """Runs undisturbed to the end; returns seconds."""
        with self.child(run, home) as child:
            started = time.perf_counter()
            child.wait_for("END")
            return time.perf_counter() - started


@dataclass(frozen=True)
class Outcome:
    """A run that was cut short: its cache, the kind of point, seconds since the run (or the hold) began."""

    home: Path
    point: Point
    delay: float
    word: str | None
    """What the child said after the signal: ``END`` when it came too late, nothing when the child was killed."""
    log: str
    """What it wrote to stderr."""

    @property
    def finished(self) -> bool:
        return self.word == "END"


def new_home(folder: Path, seed: Callable[[Path], None] | None = None) -> Path:
    """An empty ``QEFF_HOME``, or one that ``seed`` fills."""
    folder.mkdir(parents=True)
    if seed is not None:
        seed(folder)
    return folder


def kill_at_points(
    zygote: Zygote,
    run: str,
    folder: Path,
    check: Callable[[Outcome], None],
    *,
    drawn: int = 25,
    held: int = 5,
    published: int = 3,
    seed: Callable[[Path], None] | None = None,
    number: signal.Signals = signal.SIGKILL,
) -> list[Outcome]:
    """Cuts runs short at every point and calls ``check`` after each, from several threads.

    Args:
        zygote: Runs the stage.
        run: Name of the run.
        folder: Gets one ``QEFF_HOME`` a run.
        check: Raises when what is left in the home is wrong.
        drawn, held, published: How many points of each kind.
        seed: Fills a home before the run starts.
        number: The signal.

    Raises:
        AssertionError: Also when too many runs were over before the signal came.
    """
    draw = random.Random(20240229)
    folder.mkdir(parents=True)
    duration = min(zygote.finish(run, new_home(folder / f"measured-{i}", seed)) for i in range(2))
    points: list[tuple[Point, float]] = [("drawn", duration * (i + draw.random()) / drawn) for i in range(drawn)]
    points += [("before", draw.random() * 0.02) for _ in range(held)]
    points += [("after", draw.random() * 0.02) for _ in range(published)]

    def cut(index: int) -> Outcome:
        point, delay = points[index]
        home = new_home(folder / f"{index}-{point}", seed)
        with zygote.child(run, home, hold="" if point == "drawn" else point) as child:
            if point != "drawn":
                child.wait_for("HELD")
            time.sleep(delay)
            child.send(number)
            outcome = Outcome(home, point, delay, child.last_word(), child.log.read_text())
        check(outcome)
        return outcome

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        outcomes = list(pool.map(cut, range(len(points))))
    assert not any(outcome.finished for outcome in outcomes if outcome.point != "drawn")
    in_time = sum(not outcome.finished for outcome in outcomes)
    assert in_time >= 0.6 * len(points), f"only {in_time} of {len(points)} signals came in time"
    return outcomes
