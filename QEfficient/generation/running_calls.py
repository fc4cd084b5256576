"""Runs the requests of one call to their ends, and measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from QEfficient.errors import UsageError
from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request, Ticket
from QEfficient.generation.results import PerfMetrics
from QEfficient.generation.strategy import Answer

Watch = Callable[[int, Ticket], None]
"""Called behind each step with the number of each request and its ticket."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a call has written.

    Attributes:
        answers: Of each prompt, in the prompts' order.
        tickets: Of all requests.
    """

    answers: tuple[tuple[Answer, ...], ...]
    tickets: tuple[Ticket, ...]

    def perf(self, batch_size: int) -> PerfMetrics:
        """How long it took; see :class:`PerfMetrics`."""
        began = min(ticket.submitted for ticket in self.tickets)
        total = max(ticket.ended or began for ticket in self.tickets) - began
        first = min((ticket.first for ticket in self.tickets if ticket.first is not None), default=began) - began
        lengths = [len(answer.ids) for answers in self.answers for answer in answers]
        found = PerfMetrics.measured(first, total, sum(lengths), sum(map(bool, lengths)), batch_size)
        drafted, accepted = (sum(getattr(one, name) for one in self.tickets) for name in ("drafted", "accepted"))
        return replace(found, drafted=drafted, accepted=accepted)


def run(engine: Engine, requests: Sequence[Sequence[Request]], watch: Watch | None = None) -> Ran:
    """Runs all requests, however many there are; an exception, such as Ctrl-C, ends them all.

    Args:
        engine: Runs them beside whatever else it runs.
        requests: Of each prompt.
        watch: Sees tokens as they come.

    Raises:
        DeviceError: The device failed.
        UsageError: The program was closed meanwhile.
    """
    tickets: list[list[Ticket]] = [[] for _ in requests]
    try:
        for mine, wanted in zip(tickets, requests, strict=True):
            for request in wanted:
                mine.append(engine.submit(replace(request, patient=watch is None)))
        flat = [ticket for mine in tickets for ticket in mine]
        if watch is not None:
            _watch(engine, flat, watch)
        for ticket in flat:
            engine.run_until(ticket)
    finally:
        for mine in tickets:
            for ticket in mine:
                if not ticket.done:
                    engine.cancel(ticket)
    if any(ticket.reason == "cancelled" for ticket in flat):
        raise UsageError(
            "The program was closed while it wrote.",
            got="close() or compile() of another thread",
            allowed="close() behind it",
            do="call again",
        )
    return Ran(tuple(tuple(answer for one in mine for answer in one.answers) for mine in tickets), tuple(flat))


def _watch(engine: Engine, tickets: Sequence[Ticket], watch: Watch) -> None:
    open_ones = dict(enumerate(tickets))
    while open_ones:
        ended = [number for number, ticket in open_ones.items() if ticket.done]  # before it is read: then all is there
        for number, ticket in open_ones.items():
            watch(number, ticket)
        for number in ended:
            del open_ones[number]
        if open_ones:
            engine.step()
