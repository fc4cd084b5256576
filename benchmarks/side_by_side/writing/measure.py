"""One interleaved run: everybody is started and warmed up, then takes turns at each case, round by round.

Those with weights of 32 bits sit together, then all others: at once they would not fit the memory of a small machine.
The reference sits with both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.contenders import interpreter, prepare
from benchmarks.side_by_side.machine import machine, settings, told, versions
from benchmarks.side_by_side.measure import PAUSE
from benchmarks.side_by_side.process import Worker, WorkerError
from benchmarks.side_by_side.ratios import turns
from benchmarks.side_by_side.writing import bandwidth
from benchmarks.side_by_side.writing.agreement import agreement, answers, first_difference
from benchmarks.side_by_side.writing.cases import CASES, OTHERS
from benchmarks.side_by_side.writing.contenders import FORMS, REFERENCE, Author, sittings
from benchmarks.side_by_side.writing.converters import GGUF

Rows = Sequence[Sequence[int]]
Found = dict[str, Any]


@dataclass(slots=True)
class Seat:
    """A contender at work.

    Attributes:
        found: What goes into the result.
        ids: Case → the tokens of its first turn.
    """

    author: Author
    worker: Worker
    found: Found
    ids: dict[str, list[list[int]]] = field(default_factory=dict)

    def turn(self, case: str, rows: Rows, new: int, others: Rows) -> Found:
        """One turn at a case, behind one at other prompts; its ids are kept, or compared with those of the first."""
        self.worker.ask("write", rows=others, new=OTHERS[1])
        time.sleep(PAUSE)
        answer = self.worker.ask("write", rows=rows, new=new)
        first = self.ids.setdefault(case, answer["ids"])
        self.found["steady"][case] = self.found["steady"].get(case, True) and first == answer["ids"]
        self.found["peak"] = answer["peak"]
        return answer

    def compare(self, reference: Seat) -> None:
        """Keeps the reference's seconds in the same rounds, and where the tokens part from its."""
        self.found["reference"] = {what: reference.found[what] for what in ("seconds", "first")}
        for case, wanted in reference.ids.items():
            self.found["parts"][case] = [
                first_difference(one, other) for one, other in zip(wanted, self.ids[case], strict=True)
            ]


@dataclass(slots=True)
class Bench:
    """Everything that a run needs.

    Attributes:
        folder: Holds the environments, and the model in its forms.
        model: The model's own folder.
        gguf: The GGUF file that its weights come from.
        threads: CPUs that each contender may use.
        prompts: Case → ids of its prompts.
        others: Ids of other prompts, see :data:`cases.OTHERS`.
        say: Where progress goes.
        left_out: Contender → why it is not measured.
    """

    folder: Path
    model: Path
    gguf: Path
    threads: int
    prompts: Mapping[str, Rows]
    others: Rows
    say: Callable[[str], None]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables of every worker."""
        return settings(self.folder, self.threads) | {GGUF: str(self.gguf)}

    def run(self, authors: Sequence[Author], rounds: int) -> Found:
        """All rounds; what comes back is plain JSON.

        Raises:
            SystemExit: The reference can't be measured.
        """
        seats, reads = [], []
        for sitting in sittings(authors):
            found, read = self._sitting(sitting, rounds)
            seats += [seat for seat in found if seat.author.name not in {known.author.name for known in seats}]
            reads += read
        return self._result(seats, reads, rounds)

    def _sitting(self, authors: Sequence[Author], rounds: int) -> tuple[list[Seat], list[Found]]:
        """All rounds of those who are there together, the reference among them, and the memory's rates in each."""
        seats = [seat for one in authors if (seat := self._seat(one))]
        if REFERENCE not in {seat.author.name for seat in seats}:
            raise SystemExit(f"without {REFERENCE} there is nothing to compare with: {self.left_out.get(REFERENCE)}")
        reads = []
        for number in range(rounds):
            started = time.perf_counter()
            reads.append(self._bandwidth())
            for case in self.prompts:
                by_name = {seat.author.name: seat for seat in seats}
                for name in turns(list(by_name), number):
                    self._turn(seats, by_name[name], case)
            self.say(f"round {number + 1} of {rounds}: {time.perf_counter() - started:.0f} s")
        [reference] = [seat for seat in seats if seat.author.name == REFERENCE]
        for seat in seats:
            seat.worker.close()
            seat.compare(reference)
        return seats, reads

    def agree(self, authors: Sequence[Author], prompts: Rows, wanted: Rows, new: int) -> Found:
        """What those whose weights have few bits answer, beside what is wanted; one process at a time."""
        found = {}
        for one in authors:
            if one.bits == 32 or not (seat := self._seat(one)):
                continue
            started = time.perf_counter()
            worker = seat.worker

            def write(rows: Rows, most: int, worker: Worker = worker) -> list[list[int]]:
                ids: list[list[int]] = worker.ask("write", rows=rows, new=most)["ids"]
                return ids

            try:
                found[one.name] = agreement(wanted, answers(write, prompts, new, one.together)) | {"bits": one.bits}
                self.say(f"{one.name}: {found[one.name]}, {time.perf_counter() - started:.0f} s")
            except WorkerError as error:
                self._leave_out(one.name, str(error))
            worker.close()
        return {"date": _now(), "prompts": len(prompts), "new": new, "contenders": found}

    def _seat(self, author: Author) -> Seat | None:
        """Started, and warmed up with a few tokens of each case."""
        worker = None
        try:
            folder = self.model
            if author.form is not None:
                folder = prepare(
                    self.folder / "models", self.folder, author.form, str(self.model), self.settings, FORMS
                )
            options = {"folder": str(folder), "threads": self.threads} | dict(author.options)
            worker = Worker.of(interpreter(self.folder, author.environment), author.loader, options, self.settings)
            for rows in (*self.prompts.values(), self.others):
                worker.ask("write", rows=rows, new=OTHERS[1])
        except (WorkerError, OSError, subprocess.CalledProcessError) as error:
            if worker:
                worker.close()
            self._leave_out(author.name, getattr(error, "stderr", None) or str(error))
            return None
        self.say(f"{author.name}: at its seat, {_available():.1f} GB of memory are left")
        found = {"name": author.name, "ours": author.ours, "bits": author.bits, "read": author.read(folder)}
        return Seat(author, worker, found | {"seconds": {}, "first": {}, "parts": {}, "steady": {}})

    def _turn(self, seats: list[Seat], seat: Seat, case: str) -> None:
        """One turn; a contender that fails leaves, and the others go on."""
        try:
            answer = seat.turn(case, self.prompts[case], CASES[case].new, self.others)
        except WorkerError as error:
            self._leave_out(seat.author.name, str(error))
            seats.remove(seat)
            seat.worker.close()
            return
        for what in ("seconds", "first"):
            seat.found[what].setdefault(case, []).append(answer[what])

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = told(reason)
        self.say(f"{name} is left out: {self.left_out[name]}")

    def _bandwidth(self) -> dict[str, dict[str, float]]:
        command = [sys.executable, "-m", bandwidth.__name__, str(self.threads)]
        done = subprocess.run(command, env=self.settings, check=True, capture_output=True, text=True)
        found: dict[str, dict[str, float]] = json.loads(done.stdout)
        return found

    def _result(self, seats: Sequence[Seat], reads: Sequence[Found], rounds: int) -> Found:
        environments = sorted({seat.author.environment for seat in seats})
        return {
            "date": _now(),
            "machine": machine() | {"threads": self.threads},
            "versions": {name: versions(interpreter(self.folder, name)) for name in environments},
            "rounds": rounds,
            "cases": {name: {"rows": len(rows), "new": CASES[name].new} for name, rows in self.prompts.items()},
            "bandwidth": list(reads),
            "contenders": [seat.found for seat in seats],
            "left_out": dict(self.left_out),
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _available() -> float:
    """GB of memory that a new process may have."""
    [line] = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:")]
    return int(line.split()[1]) * 1024 / 1e9
