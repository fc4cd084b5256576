"""The engine: requests of any number and length over the slots of one program, driven by whoever waits.

A plain script needs no thread in the background: who waits for a request makes the steps, and each step serves all
requests. Where several threads wait, one drives, and the next takes over when that one has what it wanted.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from QEfficient import fork
from QEfficient.backends.base import Closing, OfOneProcess
from QEfficient.errors import UsageError
from QEfficient.generation.counts import EngineCounts
from QEfficient.generation.decoder import Decoder
from QEfficient.generation.requests import Request, Ticket
from QEfficient.generation.schedule import EngineSettings
from QEfficient.generation.stepper import Stepper
from QEfficient.generation.strategy import Answer


class Engine(Closing, OfOneProcess):
    """A scheduler over a decoder's slots. Every method may be called from any thread.

    Requests get slots in the order in which they come. Prompts run in chunks between decode steps, so that what is
    being written goes on. A request whose tokens begin with what a slot already holds goes on from there. None of this,
    nor who else is there, changes a token beyond the last bits of the program's own kernels.

    A request ends with a reason (``"stop"``, ``"length"``, ``"cancelled"``) or with an error. An exception such as
    ``KeyboardInterrupt`` in a call that waits cancels the request that was waited for; all others go on.

    Args:
        decoder: The program, which is the engine's from now on and closed with it.
        settings: How it is shared.
        clock: Seconds; what deadlines are compared with.

    Raises:
        OptionError: A setting does not fit.
    """

    def __init__(
        self,
        decoder: Decoder,
        settings: EngineSettings = EngineSettings(),  # noqa: B008  # frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings.check(decoder.facts)
        self.facts, self.settings = decoder.facts, settings
        self._clock = clock
        self._decoder = decoder
        self._stepper = Stepper(decoder, settings, clock)
        self._admission = self._stepper.admission
        self._process = fork.process()
        self._changed = threading.Condition()
        self._driver: int | None = None  # the thread that makes steps
        self._asking = 0  # threads that wait to make one, and don't wait for a request
        self._steps = 0
        self._closed = False

    def submit(self, request: Request) -> Ticket:
        """Puts a request behind all others and returns at once.

        Raises:
            InputError: It does not fit this program.
            UsageError: The engine is closed, or another process's.
        """
        self._check()
        request.check(self.facts)
        ticket = Ticket(request, self._clock())
        with self._changed:
            if self._closed:
                raise _closed()
            self._admission.add(ticket)
            self._changed.notify_all()
        return ticket

    def step(self) -> bool:
        """One run of the program for whoever is there: a chunk of a prompt, or a token of each sequence.

        Waits where another thread is in a step.

        Returns:
            False where there was nothing to run.
        """
        self._check()
        with self._driving():
            return self._step()

    def run_until(self, ticket: Ticket) -> tuple[Answer, ...]:
        """Makes steps, or waits for who does, until a request has ended.

        Returns:
            Its answers: what was written so far where it was cancelled.

        Raises:
            Exception: What it failed with.
        """
        with self._cancelling(ticket):
            self._drive(lambda: ticket.done)
        return ticket.result()

    def stream(self, ticket: Ticket) -> Iterator[int]:
        """A request's new tokens as they come; of one with several rows, none before it ends.

        Leaving the loop early cancels it.

        Raises:
            Exception: What it failed with, behind its last token.
        """
        given = 0
        with self._cancelling(ticket):
            while given < len(ticket.tokens) or not ticket.done:
                self._drive(partial(_has_news, ticket, given))
                for token in ticket.tokens[given:]:
                    given += 1
                    yield token
        ticket.result()

    async def astream(self, ticket: Ticket) -> AsyncIterator[int]:
        """As :meth:`stream`, for ``async for``: steps are made in threads of asyncio's own."""
        given = 0
        with self._cancelling(ticket):
            while given < len(ticket.tokens) or not ticket.done:
                await asyncio.to_thread(self._drive_once, ticket, given)
                for token in ticket.tokens[given:]:
                    given += 1
                    yield token
        ticket.result()

    async def arun_until(self, ticket: Ticket) -> tuple[Answer, ...]:
        """As :meth:`run_until`, for ``await``."""
        with self._cancelling(ticket):
            while not ticket.done:
                await asyncio.to_thread(self._drive_once, ticket, len(ticket.tokens))
        return ticket.result()

    def cancel(self, ticket: Ticket) -> None:
        """Ends a request with what is written so far: now, or behind the run that another thread is in.

        One that has ended stays as it is.
        """
        self._admission.cancel(ticket)
        if fork.process() is not self._process:
            return
        with self._changed:
            if self._driver is None:
                self._driver = threading.get_ident()  # an object that is collected meanwhile may cancel another
                try:
                    self._admission.reap()
                finally:
                    self._driver = None
                    self._changed.notify_all()

    def wait_for_work(self, seconds: float) -> bool:
        """Waits until there is a request, for a thread that does nothing but steps; whether there is one."""
        self._check()
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or self._busy(), seconds) and self._busy()

    def counts(self) -> EngineCounts:
        """What was done so far, and what there is to do."""
        return self._admission.snapshot()

    def close(self) -> None:
        """Ends every request as cancelled, behind a run that another thread is in, and closes the program."""
        if self._closed or fork.process() is not self._process:
            return
        with self._driving():
            with self._changed:
                self._closed = True
            self._admission.end_all()
        self._decoder.close()

    # ------------------------------------------------------------------------------------------ who drives

    def _busy(self) -> bool:
        return bool(self._admission.waiting or self._admission.running)

    def _check(self) -> None:
        if fork.process() is not self._process:
            raise UsageError(
                "This engine belongs to the process that forked this one: what its slots hold is there.",
                got="a call in a forked child",
                allowed="calls in the process that made it",
                do="make another engine here",
            )
        if self._closed:
            raise _closed()

    def _step(self) -> bool:
        try:
            return self._stepper.step()
        finally:
            self._steps += 1
            with self._changed:
                self._changed.notify_all()

    @contextmanager
    def _driving(self) -> Iterator[None]:
        """Waits until nobody else makes a step; who makes many lets this one in between."""
        me = threading.get_ident()
        try:
            with self._changed:
                self._asking += 1
                try:
                    self._changed.wait_for(lambda: self._driver in (None, me))
                    self._driver = me
                finally:
                    self._asking -= 1
            yield
        finally:
            self._let_go(me)

    def _drive(self, over: Callable[[], bool]) -> None:
        """Makes steps, or waits while another thread makes them, until something is so."""
        if over():
            return
        self._check()
        me = threading.get_ident()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: over() or (self._driver in (None, me) and not self._asking))
                    if over():
                        return
                    self._driver = me
                if not self._step() and not self._busy() and not over():
                    raise UsageError(
                        "This request is not one of this engine's.",
                        got="a ticket of another engine",
                        allowed="what submit() of this one gave",
                        do="wait where it was submitted",
                    )
                if self._asking:
                    self._let_go(me)
        finally:
            self._let_go(me)

    def _let_go(self, me: int) -> None:
        with self._changed:
            if self._driver == me:
                self._driver = None
            self._changed.notify_all()

    def _drive_once(self, ticket: Ticket, given: int) -> None:
        """As :meth:`_drive`, for one step at most: threads of a small pool must not all wait for the same request."""
        steps = self._steps
        self._drive(lambda: _has_news(ticket, given) or self._steps > steps)

    @contextmanager
    def _cancelling(self, ticket: Ticket) -> Iterator[None]:
        """Cancels a request whose caller was interrupted, or left."""
        try:
            yield
        except BaseException:
            if not ticket.done:
                self.cancel(ticket)
            raise


def _has_news(ticket: Ticket, given: int) -> bool:
    return ticket.done or given < len(ticket.tokens)


def _closed() -> UsageError:
    return UsageError(
        "This engine is closed.",
        got="a call behind close()",
        allowed="results of requests that it has ended",
        do="open the program again",
    )
