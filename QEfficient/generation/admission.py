"""Who waits, who has slots, and who has ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from QEfficient.errors import DeviceError
from QEfficient.generation.counts import EngineCounts
from QEfficient.generation.requests import Ticket
from QEfficient.generation.running import Running, SlotSequence
from QEfficient.generation.schedule import EngineSettings
from QEfficient.generation.slot_table import SlotTable
from QEfficient.generation.strategy import Reason
from QEfficient.records import DecoderFacts


class Admission:
    """Requests from their first moment to their end. One thread at a time, but for :meth:`add` and :meth:`cancel`.

    Attributes:
        waiting: Requests without slots, in the order in which they came.
        running: Those with slots, in that order too.
        table: What the slots hold.
        touched: Slots that a run is writing: nobody knows what they hold until it is over.
        counts: What was done so far.
        stale, timed: Whether one was cancelled since the last look, and whether any has a deadline: else nobody need
            look through a long queue.

    Args:
        facts: What the program is compiled for.
        settings: How it is shared.
        clock: Seconds that deadlines are in.
    """

    def __init__(self, facts: DecoderFacts, settings: EngineSettings, clock: Callable[[], float]) -> None:
        self._facts, self._settings, self._clock = facts, settings, clock
        self.waiting: deque[Ticket] = deque()
        self.running: list[Running] = []
        self.table = SlotTable(facts)
        self.touched: tuple[int, ...] = ()
        self.counts = EngineCounts()
        self.stale = self.timed = False

    def add(self, ticket: Ticket) -> None:
        """Puts a checked request behind all others; from any thread."""
        self.timed = self.timed or ticket.request.deadline is not None
        self.waiting.append(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Has a request end at the next :meth:`reap`; from any thread."""
        ticket.cancelled = True
        self.stale = True

    def reap(self) -> None:
        """Puts right what an interrupt left, and ends who is cancelled or past a deadline."""
        self.table.lose(self.touched)
        self.touched = ()
        for request in [request for request in self.running if request.choosing or request.ticket.done]:
            if request.ticket.done:
                self._leave(request)
            elif request.ticket.cancelled:
                self.end(request, "cancelled")
            else:
                self.fail(request, _interrupted(request))
        now = self._clock()
        if self.stale or self.timed:
            self._reap_waiting(now)
        for request in [request for request in self.running if self._over(request.ticket, now)]:
            self.end(request, "cancelled")

    def _reap_waiting(self, now: float) -> None:
        self.stale = False
        try:
            for ticket in tuple(self.waiting):
                if self._over(ticket, now):
                    self._answer(ticket, "cancelled")
                    self.waiting.remove(ticket)
        except BaseException:  # an interrupt: look again
            self.stale = True
            raise

    def _over(self, ticket: Ticket, now: float) -> bool:
        if ticket.done or ticket.cancelled:
            return True
        deadline = ticket.request.deadline
        ticket.expired = deadline is not None and deadline < now
        return ticket.expired

    def admit(self, turn: int) -> None:
        """Gives slots in the order in which requests came: nobody overtakes one that waits for several."""
        owned = {slot for request in self.running for slot in request.slots}
        admitted = {id(request.ticket) for request in self.running}
        while self.waiting:
            ticket = self.waiting[0]
            if id(ticket) not in admitted:  # else an interrupt came before it was taken off
                free = [slot for slot in range(len(self.table)) if slot not in owned]
                request = ticket.request
                if len(free) < request.strategy.rows:
                    return
                ids = np.array(request.ids, np.int64)
                first = self.table.choose(free, ids, request.whole_space, self._settings.copy_saves)
                free.remove(first)
                slots = (first, *self.table.oldest(free, request.strategy.rows - 1))
                room = self._facts.room - len(request.ids)
                limit = room if request.wanted is None else min(room, request.wanted)
                sequence = SlotSequence(list(request.ids), first, turn)
                ticket.admitted = self._clock()
                self.running.append(Running(ticket, slots, [sequence], limit))
                owned.update(slots)
            self.waiting.popleft()

    def _answer(self, ticket: Ticket, reason: Reason, *, own: bool = False) -> None:
        if ticket.done:
            return
        try:
            answers = ticket.request.strategy.answers(None if own else reason)
        except Exception as error:  # whatever a strategy raises is its own request's fault
            ticket.fail(error, self._clock())
            self.counts.failed += 1
        else:
            ticket.end(reason, answers, self._clock())
            self.counts.ended += 1

    def end(self, request: Running, reason: Reason, *, own: bool = False) -> None:
        """Ends a request with what its strategy has written; ``own``: the strategy ended it itself."""
        self._answer(request.ticket, reason, own=own)
        self._leave(request)

    def fail(self, request: Running, error: Exception) -> None:
        """Ends a request with an error."""
        request.ticket.fail(error, self._clock())
        self.counts.failed += 1
        self._leave(request)

    def _leave(self, request: Running) -> None:
        self.table.give_back(request.slots[::-1])  # the first, which has the first sequence, as the newest
        self.running.remove(request)

    def snapshot(self) -> EngineCounts:
        """What was done so far, and what there is now."""
        held = sum(self.table.length(slot) for slot in range(len(self.table)))
        return replace(self.counts, waiting=len(self.waiting), running=len(self.running), held=held)

    def end_all(self) -> None:
        """Ends every request as cancelled."""
        for ticket in [*self.waiting, *(request.ticket for request in self.running)]:
            self.cancel(ticket)
        self.reap()


def _interrupted(request: Running) -> DeviceError:
    return DeviceError(
        "An interrupt came while this request's next token was chosen, so nobody knows which it is.",
        got=f"an interrupt of another caller, behind {request.chosen} new tokens",
        allowed="interrupts while the program runs, which cost time only",
        do="send it again",
    )
