"""One interleaved run: starts, warm-up and accuracy, then rounds in which everybody takes turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.side_by_side import corpora as texts_of
from benchmarks.side_by_side.contenders import (
    CONTENDERS,
    FORMS,
    MULTIPLIERS,
    OURS,
    REFERENCE,
    Contender,
    interpreter,
    prepare,
)
from benchmarks.side_by_side.loaders import MULTIPLY
from benchmarks.side_by_side.machine import machine, settings, told, versions
from benchmarks.side_by_side.process import Worker, WorkerError
from benchmarks.side_by_side.ratios import turns

ONE = "one"  # the corpus whose texts go in one at a time
PARTS = 5  # turns of a round in which they do: a turn is short, and what slows a machine lasts for seconds
PAUSE = 0.1  # seconds before a turn: the threads of who went before may still wait for work at full speed, 40 ms or so
BATCHES = (32, 8, 16, 64, 128)
"""What is tried in the warm-up; the first is the peers' default."""
SAMPLE = 12_000  # characters of a corpus that are used for that, evenly from it
MULTIPLICATIONS = 20  # of one measurement of the limit; five a round


@dataclass(slots=True)
class Seat:
    """A contender at work, and what was found of it."""

    contender: Contender
    worker: Worker
    found: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """Everything that a run needs.

    Attributes:
        folder: Holds the environments, the model in its forms, corpora and vectors.
        model: The model's own folder.
        threads: CPUs that each contender may use.
        corpora: Name → texts.
        say: Where progress goes.
    """

    folder: Path
    model: Path
    threads: int
    corpora: Mapping[str, Sequence[str]]
    say: Callable[[str], None]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables of every worker."""
        return settings(self.folder, self.threads)

    def run(self, contenders: Sequence[Contender], rounds: int) -> dict[str, Any]:
        """The whole run; what comes back is plain JSON."""
        files = self._write_corpora()
        seats = [seat for one in contenders if (seat := self._seat(one, files))]
        multipliers = {one.name: seat for one in MULTIPLIERS if (seat := self._seat(one, files))}
        reference = self._reference(files)
        for seat in list(seats):
            self._try(seats, seat, lambda seat: self._warm_up(seat, reference), "warmed up")
        rates: dict[str, list[float]] = {name: [] for name in multipliers}
        for number in range(rounds):
            started = time.perf_counter()
            for name, seat in multipliers.items():
                rates[name].append(statistics.median(_rate(seat.worker) for _ in range(5)))
            for corpus in self.corpora:
                for part in range(PARTS if corpus == ONE else 1):
                    by_name = {seat.contender.name: seat for seat in seats}
                    for name in turns(list(by_name), number):
                        self._try(seats, by_name[name], partial(_turn, corpus=corpus, part=part), "")
            self.say(f"round {number + 1} of {rounds}: {time.perf_counter() - started:.0f} s")
        for seat in seats:
            seat.found["peak"] = seat.worker.ask("first", texts=["done"])["peak"]
        for seat in (*seats, *multipliers.values()):
            seat.worker.close()
        return self._result(seats, rates, rounds)

    # ------------------------------------------------------------------------------------------- before the rounds

    def _write_corpora(self) -> dict[str, Path]:
        folder = self.folder / "corpora"
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: folder / f"{name}.json" for name in (*self.corpora, "multiplications")}
        for name, texts in {**self.corpora, "multiplications": [""] * MULTIPLICATIONS}.items():
            files[name].write_text(json.dumps(list(texts)), encoding="utf-8")
        return files

    def _seat(self, contender: Contender, files: Mapping[str, Path]) -> Seat | None:
        """Started twice: the first time fills the file cache, the second one counts and stays."""
        try:
            folder = self.model
            if contender.form is not None:
                folder = prepare(self.folder / "models", self.folder, contender.form, str(self.model), self.settings)
            options = {"folder": str(folder), "threads": self.threads} | dict(contender.options)
            python = interpreter(self.folder, contender.environment)
            self._start(python, contender, options)[0].close()
            worker, found = self._start(python, contender, options)
            for name, path in files.items():
                worker.ask("corpus", name=name, path=str(path))
            worker.ask("warm")
        except (WorkerError, OSError, subprocess.CalledProcessError) as error:
            self._leave_out(contender.name, getattr(error, "stderr", None) or str(error))
            return None
        self.say(f"{contender.name}: first vector after {found['start']:.1f} s, {found['first_peak']:.0f} MB")
        return Seat(contender, worker, found)

    def _start(self, python: Path, contender: Contender, options: Mapping[str, Any]) -> tuple[Worker, dict[str, Any]]:
        worker = Worker.of(python, contender.loader, options, self.settings)
        peak = worker.ask("first", texts=["A cat sits on a mat."])["peak"]
        return worker, {"start": worker.since_start(), "first_peak": peak, "seconds": {}, "batch": {}, "cosine": {}}

    def _reference(self, files: Mapping[str, Path]) -> dict[str, Any]:
        """HuggingFace's vectors in float32, each text by itself."""
        [contender] = [one for one in CONTENDERS if one.name == REFERENCE]
        options = {"folder": str(self.model), "threads": self.threads}
        python = interpreter(self.folder, contender.environment)
        worker = Worker.of(python, contender.loader, options, self.settings)
        try:
            for name in self.corpora:
                worker.ask("corpus", name=name, path=str(files[name]))
            return {name: self._vectors(worker, name, 1) for name in self.corpora}
        finally:
            worker.close()

    def _vectors(self, worker: Worker, corpus: str, batch: int) -> Any:
        path = self.folder / "corpora" / "vectors.npy"
        worker.ask("vectors", corpus=corpus, batch=batch, path=str(path))
        return np.load(path).astype(np.float64)

    def _warm_up(self, seat: Seat, reference: Mapping[str, Any]) -> None:
        """The best batch size on a sample of each corpus, and how near the vectors are to the reference."""
        for corpus, wanted in reference.items():
            batch = 1 if corpus == ONE else BATCHES[0]
            if seat.worker.hello["batched"] and corpus != ONE:
                every = max(1, sum(map(len, self.corpora[corpus])) // SAMPLE)
                seat.worker.ask("encode", corpus=corpus, batch=batch, every=every)
                tried = {b: seat.worker.ask("encode", corpus=corpus, batch=b, every=every) for b in BATCHES}
                batch = min(BATCHES, key=lambda b: float(tried[b]["seconds"]))
            seat.found["batch"][corpus] = batch if seat.worker.hello["batched"] else None
            seat.found["cosine"][corpus] = least_cosine(self._vectors(seat.worker, corpus, batch), wanted)
            if corpus == ONE:
                for part in range(PARTS):
                    _turn(seat, corpus, part)
        seat.found["seconds"].clear()

    # ------------------------------------------------------------------------------------------------ failures

    def _try(self, seats: list[Seat], seat: Seat, act: Callable[[Seat], None], done: str) -> None:
        """A contender that fails leaves; the others go on."""
        try:
            act(seat)
        except WorkerError as error:
            self._leave_out(seat.contender.name, str(error))
            seats.remove(seat)
            seat.worker.close()
        else:
            if done:
                self.say(f"{seat.contender.name}: {done}, batches {seat.found['batch']}")

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = told(reason)
        self.say(f"{name} is left out: {self.left_out[name]}")

    # -------------------------------------------------------------------------------------------------- the result

    def _result(self, seats: Sequence[Seat], rates: Mapping[str, Sequence[float]], rounds: int) -> dict[str, Any]:
        tokenizer = texts_of.read_tokenizer(self.model)
        lengths = {name: texts_of.lengths(texts, tokenizer) for name, texts in self.corpora.items()}
        environments = sorted({seat.contender.environment for seat in seats})
        return {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": machine() | {"threads": self.threads},
            "versions": {name: versions(interpreter(self.folder, name)) for name in environments},
            "rounds": rounds,
            "corpora": {
                name: {
                    "texts": len(tokens),
                    "tokens": sum(tokens),
                    "longest": max(tokens),
                    "flops": texts_of.flops(self.model, tokens),
                }
                for name, tokens in lengths.items()
            },
            "multiply": {name: found for name, found in rates.items() if found},
            "contenders": [{"name": seat.contender.name, "ours": seat.contender.ours} | seat.found for seat in seats],
            "left_out": dict(self.left_out),
        }


def _turn(seat: Seat, corpus: str, part: int = 0) -> None:
    """One measurement: seconds of a call, or of each text of a part of the corpus whose texts go in one by one."""
    time.sleep(PAUSE)
    rounds = seat.found["seconds"].setdefault(corpus, [])
    if corpus != ONE:
        rounds.append(seat.worker.ask("encode", corpus=corpus, batch=seat.found["batch"][corpus])["seconds"])
        return
    seconds = seat.worker.ask("each", corpus=corpus, part=part, parts=PARTS)["seconds"]
    if part == 0:
        rounds.append([])
    rounds[-1] += seconds


def _rate(worker: Worker) -> float:
    """FLOP a second of one measurement of the limit."""
    time.sleep(PAUSE)
    rows, inner, columns = MULTIPLY
    seconds = worker.ask("encode", corpus="multiplications", batch=1)["seconds"]
    return 2.0 * rows * inner * columns * MULTIPLICATIONS / float(seconds)


def least_cosine(found: Any, wanted: Any) -> float:
    """The least cosine of two rows at the same place; -1 where numbers are not finite or shapes differ."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return -1.0
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((found * wanted).sum(1) / np.maximum(norms, 1e-30)).min())


def needed(contenders: Sequence[Contender]) -> list[str]:
    """The environments to build, for the contenders, their forms and the reference."""
    [reference] = [one for one in CONTENDERS if one.name == REFERENCE]
    names = {one.environment for one in (*contenders, reference)}
    names |= {FORMS[one.form][0] for one in contenders if one.form is not None}
    return sorted(names - {OURS})
