"""How a program runs fastest on this machine: measured once, kept in the cache, read by every later process.

    QEFF_HOME/tunings/<key>.json    what was measured, and for what

The key is made of what decides: the processor and how many CPUs of it may be used, the backend and its version, the
graph and its precision. A file that can't be read counts as absent, and is written again by the next ``warmup``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from QEfficient import settings
from QEfficient.backends.base import Arrays, Backend, Session, Tunable
from QEfficient.backends.host import processor, usable_cpus
from QEfficient.cache import content_key
from QEfficient.cache.files import replace_file
from QEfficient.records import Json, Program, Shape, Tuning
from QEfficient.runtime.beside import stand_in
from QEfficient.runtime.plan import BATCH_IMAGES

log = logging.getLogger(__name__)

BUDGETS = (128, 256, 512)
"""Positions of a batch that are tried."""
TYPICAL = 32
"""Tokens of a row that they are tried with: about a sentence."""
SECONDS = 1.2
"""What a look at all candidates takes, where one round of them takes less than a third of it; a second one follows
where one of them seems better than the guess."""
MOST = 8.0
"""Seconds after which no further candidate is tried, however slow the program is."""
Clock = Callable[[], float]

GAIN = 1.03
"""How much faster than the guess another tuning must be in the median, and in three of four rounds not slower. The same
one, measured twice, differs by up to 2 % where nobody else is at work."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A tuning, the session that runs it, and one batch of its size."""

    tuning: Tuning
    session: Session
    arrays: Arrays

    def rate(self) -> float:
        """Rows a second, with every stream at work on a batch."""
        start = time.perf_counter()
        if self.session.slots == 1:
            self.session.run(self.arrays)
        else:
            futures = [self.session.submit(self.arrays) for _ in range(self.session.slots)]
            wait(futures)
            for future in futures:
                future.result()
        return self.session.slots * len(next(iter(self.arrays.values()))) / (time.perf_counter() - start)


def calibrate(
    program: Program, backend: Backend, session: Session, *, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> Tuning | None:
    """The best of a few tunings of a host's program.

    Streams and batch sizes are tried in rounds, so that a slow moment hits all of them; each is compared with the
    guess of the same round. What was best is held against the guess a second time before it is chosen.

    Args:
        program: The program.
        backend: Opens it.
        session: An open session of it that runs as it guesses.
        seconds: About how long each of the two may take.
        clock: What tells the time.

    Returns:
        ``None`` where there is nothing to choose: shapes are fixed, or the session can't be tuned, as on a card.
    """
    if session.fixed_shapes or not isinstance(session, Tunable):
        return None
    guess = session.tuning
    with ExitStack() as stack:

        def open_(tuning: Tuning) -> Session:
            other = stack.enter_context(backend.open(program))
            if isinstance(other, Tunable):  # as the one that is open already
                other.tune(tuning)
            return other

        candidates = _candidates(guess, session, open_)
        best = _best(guess, _measure(candidates, seconds, clock))
        if best != guess:  # the best of many was lucky too, and what is chosen stays: once more, these two alone
            two = [candidate for candidate in candidates if candidate.tuning in (guess, best)]
            best = _best(guess, _measure(two, seconds, clock))
    return best


def _best(guess: Tuning, rates: Mapping[Tuning, Sequence[float]]) -> Tuning:
    """The fastest, if it is so much faster than the guess that this is no noise; else the guess."""
    ratios = {
        tuning: np.percentile([own / base for own, base in zip(found, rates[guess], strict=True)], (25, 50))
        for tuning, found in rates.items()
    }
    best = max(ratios, key=lambda tuning: float(ratios[tuning][1]))
    log.info("calibrated: %s", ", ".join(f"{tuning}: {middle:.3f}" for tuning, (_, middle) in ratios.items()))
    low, middle = ratios[best]
    return best if middle >= GAIN and low >= 1 else guess


def _candidates(guess: Tuning, session: Session, open_: Callable[[Tuning], Session]) -> list[_Candidate]:
    """The guess first; then other sizes with its streams, then other streams."""
    sizes = dict.fromkeys((guess.batch_tokens, *BUDGETS))
    made: list[_Candidate] = []
    for streams in _streams(guess):
        tunings = [Tuning(streams, max(1, usable_cpus() // streams), tokens) for tokens in sizes]
        own = session if streams == guess.streams else open_(tunings[0])
        seen: set[int] = set()
        for tuning in tunings:
            arrays = _batch(own, tuning.batch_tokens)
            rows = len(next(iter(arrays.values())))
            if rows not in seen:  # of budgets that make the same batch, the guess or the smallest
                seen.add(rows)
                made.append(_Candidate(tuning, own, arrays))
    return made


def _streams(guess: Tuning) -> Sequence[int]:
    """Numbers of streams to try. Where the guess is one, more would hold large weights twice."""
    if guess.streams == 1:
        return (1,)
    half = (guess.streams // 2,) if guess.streams >= 4 else ()
    return (guess.streams, *half, 1)


def _batch(session: Session, tokens: int) -> Arrays:
    """One batch of typical rows."""
    first = session.shapes[0]
    images = any(len(spec.shape) == 4 for spec in session.inputs)
    length = min(first.length, TYPICAL) if _is_text(session) else first.length
    rows = min(BATCH_IMAGES, max(1, tokens // TYPICAL)) if images else max(1, tokens // length)
    bucket = Shape(length, rows, first.sizes)
    return {spec.name: stand_in(spec, spec.at(bucket)) for spec in session.inputs}


def _is_text(session: Session) -> bool:
    return all(spec.dtype.startswith("int") for spec in session.inputs)  # images and clips are floats


def _measure(candidates: Sequence[_Candidate], seconds: float, clock: Clock) -> dict[Tuning, list[float]]:
    """Rates of each candidate, one a round. Those that would take too long are left out."""
    start = clock()
    kept: list[_Candidate] = []
    for candidate in candidates:
        before = clock()
        candidate.rate()  # a first call allocates
        if not kept or clock() - start + 2 * (clock() - before) < MOST:
            kept.append(candidate)
        if clock() - start > MOST:
            break
    if len(kept) == 1:
        return {kept[0].tuning: [1.0]}
    rates: dict[Tuning, list[float]] = {candidate.tuning: [] for candidate in kept}
    while True:
        for candidate in kept:
            rates[candidate.tuning].append(candidate.rate())
        if len(rates[kept[0].tuning]) >= 3 and clock() - start > seconds:
            return rates


# ------------------------------------------------------------------------------------------------ kept


def remembered(program: Program, backend: Backend) -> Tuning | None:
    """What was measured for a program on this machine, ``None`` if nothing was. It takes less than a millisecond."""
    folder = _folder()
    if not folder.is_dir():
        return None
    facts = _facts(program, backend)
    try:
        record = json.loads((folder / _name(facts)).read_bytes())
    except (OSError, ValueError):  # none, or damaged: measured again
        return None
    if not isinstance(record, dict) or record.get("for") != facts:
        return None
    return _tuning(record.get("tuning"))


def remember(program: Program, backend: Backend, tuning: Tuning) -> None:
    """Keeps what was measured. A cache that can't be written costs the next process a calibration, nothing else."""
    facts = _facts(program, backend)
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        record = {"for": facts, "tuning": asdict(tuning)}
        replace_file(_folder() / _name(facts), json.dumps(record, indent=1).encode(), sync=False)
    except OSError as error:
        log.info("the calibration is not kept: %s", error)


def _folder() -> Path:
    return settings.home() / "tunings"


def _facts(program: Program, backend: Backend) -> dict[str, Json]:
    manifest = program.manifest
    return {
        "processor": processor(),
        "cpus": usable_cpus(),
        "backend": backend.name,
        "version": backend.version(),
        "compute": manifest.target.compute,
        "graph": manifest.files[onnx].sha256 if (onnx := manifest.graph.onnx) in manifest.files else "",
    }


def _name(facts: Mapping[str, Json]) -> str:
    return f"{content_key(facts)}.json"


def _tuning(record: Json) -> Tuning | None:
    names = {field.name for field in fields(Tuning)}
    if not isinstance(record, dict) or set(record) != names:
        return None
    if not all(type(record[name]) is int and record[name] >= 1 for name in names):
        return None
    return Tuning(**record)
