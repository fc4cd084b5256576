"""How fast a program answers, and where its time goes: the record, and the loop that measures."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from QEfficient.records import Json
from QEfficient.runtime.counts import RunCounts
from QEfficient.runtime.spans import STAGES, Spans, watching

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

T = TypeVar("T")
_WIDTH = 100  # columns of the printed tables where they go to no terminal


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the road from strings to vectors.

    Attributes:
        name: ``"tokenise"``, ``"plan"``, ``"run"``, ``"gather"``; ``"other"``: none of them went on.
        seconds: All its spans together. Runs lie side by side where there are streams or devices.
        share: Share of the whole time in which at least one was open; over all stages more than 1 where they overlap.
    """

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured. Printing it shows two tables.

    Attributes:
        name: The model.
        backend, compute: Where it ran, and in which precision.
        cpus: CPUs that this process may use: the budget of everything here, tokenising included.
        inputs: What was run, in words.
        batch: Rows that one call was given; the last call of a round may have fewer.
        latencies: Seconds of each call.
        seconds: From the start of the first call to the end of the last.
        warmup: Seconds before that: opening the program, finding how to run it here, and one call.
        rows: Rows that were answered. A text is one row, but for one that is split.
        work: Batches that the session ran, tokens, and positions that it computed.
        stages: Where the time went.
        session: The open session about itself: device, threads, streams.
    """

    name: str
    backend: str
    compute: str
    cpus: int
    inputs: str
    batch: int
    latencies: tuple[float, ...]
    seconds: float
    warmup: float
    rows: int
    work: RunCounts
    stages: tuple[Stage, ...]
    session: Mapping[str, Json] = field(default_factory=dict)

    def latency(self, percent: float) -> float:
        """Seconds in which so many per cent of the calls were answered."""
        return float(np.percentile(self.latencies, percent))

    @property
    def p50(self) -> float:
        """The median latency of a call, in seconds."""
        return self.latency(50)

    @property
    def p95(self) -> float:
        """As :attr:`p50`, of 95 % of the calls."""
        return self.latency(95)

    @property
    def p99(self) -> float:
        """As :attr:`p50`, of 99 % of the calls."""
        return self.latency(99)

    @property
    def rows_per_second(self) -> float:
        """Texts a second, or images, or clips."""
        return self.rows / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Of the rows' own tokens; padding counts for nothing."""
        return self.work.tokens / self.seconds

    @property
    def efficiency(self) -> float:
        """Share of the computed positions that are the rows' own."""
        return self.work.efficiency

    @property
    def rows_per_batch(self) -> float:
        """What the planner made of the calls, on the average."""
        return self.work.rows / self.work.batches if self.work.batches else 0.0

    def to_json(self) -> dict[str, Json]:
        """All fields, and what is computed from them."""
        names = ("p50", "p95", "p99", "rows_per_second", "tokens_per_second", "efficiency", "rows_per_batch")
        fields = {one: getattr(self, one) for one in self.__dataclass_fields__} | {
            "work": asdict(self.work),
            "stages": [asdict(stage) for stage in self.stages],
            "session": dict(self.session),
            "latencies": list(self.latencies),
        }
        return fields | {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=_WIDTH).print(self)
        return text.getvalue().rstrip()

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        return Group(Text(self._heading()), self._speed(), self._parts())

    def _heading(self) -> str:
        calls = f"{len(self.latencies)} calls of {self.batch}" if len(self.latencies) > 1 else f"1 call of {self.batch}"
        return (
            f"{self.name} on {self.backend} in {self.compute}, {self.cpus} CPUs. {self.inputs}: {calls} "
            f"in {self.seconds:.2f} s, after {self.warmup:.2f} s of warm-up."
        )

    def _speed(self) -> Table:
        from rich.table import Table

        table = Table()
        for name in ("p50", "p95", "p99", "rows/s", "tokens/s", "not padding", "rows a batch"):
            table.add_column(name, justify="right")
        latencies = (f"{1e3 * one:.2f} ms" for one in (self.p50, self.p95, self.p99))
        rates = (f"{self.rows_per_second:,.1f}", f"{self.tokens_per_second:,.0f}")
        table.add_row(*latencies, *rates, f"{self.efficiency:.1%}", f"{self.rows_per_batch:.1f}")
        return table

    def _parts(self) -> Table:
        from rich.table import Table

        table = Table("stage")
        for name in ("ms a call", "share of the time"):
            table.add_column(name, justify="right")
        for stage in self.stages:
            table.add_row(stage.name, f"{1e3 * stage.seconds / len(self.latencies):.3f}", f"{stage.share:.1%}")
        return table


@dataclass(frozen=True, slots=True)
class Timings:
    """What :func:`measure` saw.

    Attributes:
        latencies: Seconds of each call.
        rows: Rows that the calls were given, together.
        seconds: From the first call's start to the last one's end.
        spans: The stages, and the session's work.
    """

    latencies: tuple[float, ...]
    rows: int
    seconds: float
    spans: Spans

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Every stage, and the rest."""
        found = [Stage(name, self.spans.seconds(name), self.spans.covered(name) / self.seconds) for name in STAGES]
        rest = max(0.0, self.seconds - self.spans.covered(*STAGES))
        return (*found, Stage("other", rest, rest / self.seconds))


def measure(
    call: Callable[[Sequence[T]], object],
    items: Sequence[T],
    batch: int,
    *,
    seconds: float,
    rounds: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timings:
    """Calls with ``batch`` items at a time, over and over.

    Args:
        call: What is measured.
        items: At least one.
        batch: Items of a call; the last one of a round takes what is left.
        seconds: No call is started after so many; one always is.
        rounds: How often all items are taken at most.
        clock: Gives seconds.
    """
    latencies: list[float] = []
    rows, place, done = 0, 0, 0
    with watching() as spans:
        start = now = clock()
        while not latencies or (now - start < seconds and (rounds is None or done < rounds)):
            part = items[place : place + batch]
            before = clock()
            call(part)
            now = clock()
            latencies.append(now - before)
            rows += len(part)
            place += batch
            if place >= len(items):
                place, done = 0, done + 1
    return Timings(tuple(latencies), rows, now - start, spans)
