"""Random programs for an engine, and what each of their requests must give: what it gives alone, from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pytest

from QEfficient.errors import DeviceError, InputError
from QEfficient.generation.engine import Engine
from QEfficient.generation.prompt_lookup import Draft
from QEfficient.generation.requests import Request, Ticket
from QEfficient.generation.schedule import EngineSettings
from QEfficient.generation.strategy import Answer, Reason
from QEfficient.records import DecoderFacts
from tests.generation.hash_decoder import VOCABULARY, Failure, Fan, HashDecoder, Pick, hashed


@dataclass(frozen=True)
class Program:
    """What happens: each act is a name and its numbers.

    ``submit``: prompt, strategy, wanted, seconds to live, space; ``again``: a turn of a chat after an earlier request;
    ``cancel``: an earlier request; ``steps``; ``time``: seconds that pass.
    """

    facts: DecoderFacts
    settings: EngineSettings
    failures: dict[int, Failure]
    acts: list[tuple[str, tuple[object, ...]]]


def random_program(random: Random) -> Program:
    """A small program with everything in it; requests begin alike often."""
    continuous = random.random() < 0.7
    slots = random.randint(1, 6)
    rows = random.randint(1, slots) if continuous else slots
    facts = DecoderFacts(
        ctx_len=random.randint(6, 28),
        cache_slots=slots,
        decode_rows=rows,
        prefill_len=random.randint(1, 9),
        continuous=continuous,
        kept_logits=random.choice([1, 2, 5]),
        rewinds=random.random() < 0.7,
    )
    settings = EngineSettings(
        chunk=random.choice([None, random.randint(1, facts.prefill_len)]),
        prefill_runs=random.choice([1, 1, 1, 3]),
        patient_runs=random.randint(1, 6),
        retries=random.randint(0, 3),
        copy_saves=random.choice([None, 1, 4]),
        token_cost=random.choice([0.0, 0.1, 1.0]),
    )
    kinds: Sequence[Failure] = ("device", "device", "interrupt", "other")
    failures = {random.randint(0, 80): random.choice(kinds) for _ in range(random.choice([0, 0, 1, 3]))}
    bases = [[random.randrange(VOCABULARY) for _ in range(facts.room)] for _ in range(2)]
    acts = [_random_act(random, facts, bases, n) for n in range(random.randint(1, 24))]
    return Program(facts, settings, failures, acts)


def _random_act(random: Random, facts: DecoderFacts, bases: list[list[int]], n: int) -> tuple[str, tuple[object, ...]]:
    name = random.choice(["submit", "submit", "submit", "again", "steps", "steps", "cancel", "time"])
    if name == "steps":
        return name, (random.randint(1, 12),)
    if name in ("cancel", "time"):
        return name, (random.randint(0, n if name == "cancel" else 5),)
    how = (
        random.choice(["pick", "pick", "pick", "fan"]),
        random.randint(1, min(4, facts.cache_slots)),
        random.choice([None, random.randint(1, 8)]),  # the strategy's own end
        random.choice([None, None, random.randint(1, 8)]),  # what the request wants
        random.choice([None, None, None, random.randint(0, 9)]),  # seconds to live
        random.choice([None, None, "adapter"]),
        random.random() < 0.3,  # patient
        random.choice([None, None, random.random()]),  # drafts, and how often they are right
    )
    tail = tuple(random.randrange(VOCABULARY) for _ in range(random.randint(0, 4)))
    if name == "again":
        return name, (random.randint(0, n), tail, how)
    head = random.choice(bases)[: random.randint(0, facts.room - 1)]
    return name, ((*head, *tail), how)


class Foreteller:
    """Knows how a text goes on, and says it, or something else; its odds mean nothing.

    Args:
        text: Prompt and answer.
        right: How often a token is right.
    """

    def __init__(self, text: Sequence[int], right: float) -> None:
        self._text, self._right, self._random = text, right, Random(len(text))

    def draft(self, ids: Sequence[int], most: int) -> Draft:
        assert most >= 0 and list(self._text[: len(ids)]) == list(ids)
        count = self._random.randint(0, most)
        after = [*self._text[len(ids) :], *range(count)][:count]
        drafted = [token if self._random.random() < self._right else (token + 1) % VOCABULARY for token in after]
        odds = sorted((self._random.random() for _ in range(count)), reverse=True)
        return Draft(tuple(drafted), tuple(odds))


@dataclass
class Alone:
    """What a request gives when nothing else is there."""

    reason: Reason
    answers: tuple[Answer, ...]
    history: list[object]


def alone(request: Request, facts: DecoderFacts, strategy: Pick | Fan) -> Alone:
    """Runs a request from scratch, a whole sequence a step."""
    sequences = [list(request.ids)]
    room = facts.room - len(request.ids)
    limit = room if request.wanted is None else min(room, request.wanted)
    for count in range(1, limit + 1):
        chosen = strategy.advance(np.stack([hashed(sequence) for sequence in sequences]))
        if chosen.done:
            return Alone(chosen.done, strategy.answers(), list(strategy.history))
        if count == limit:
            break
        sequences = [[*sequences[p], t] for p, t in zip(chosen.parents, chosen.tokens, strict=True)]
    return Alone("length", strategy.answers("length"), list(strategy.history))


@dataclass
class Played:
    """An engine with a program's requests.

    Attributes:
        tickets: Of the requests that were taken, with what each gives alone.
    """

    program: Program
    now: float = 0.0
    tickets: list[tuple[Ticket, Alone]] = field(default_factory=list)
    interrupts: int = 0
    waited: set[int] = field(default_factory=set)  # who was being written while the last step ran a prompt

    def __post_init__(self) -> None:
        self.decoder = HashDecoder(self.program.facts, self.program.failures)
        self.engine = Engine(self.decoder, self.program.settings, lambda: self.now)

    def play(self) -> None:
        """Does all acts, then steps until all is ended, and checks everything."""
        for name, numbers in self.program.acts:
            getattr(self, f"_{name}")(*numbers)
        budget = self._budget()
        while self.step():
            budget -= 1
            assert budget, "requests are never done"
        self._check()

    def _submit(self, ids: Sequence[int], how: tuple[object, ...]) -> None:
        kind, rows, most, wanted, seconds, space, patient, right = how
        strategy: Pick | Fan = Pick(frozenset({3}), most) if kind == "pick" else Fan(rows, most)  # type: ignore[arg-type]
        deadline = None if seconds is None else self.now + seconds  # type: ignore[operator]
        request = Request(tuple(ids), strategy, wanted, deadline, patient, space)  # type: ignore[arg-type]
        if not ids or len(ids) + (wanted or 1) > self.program.facts.room:  # type: ignore[operator]
            before = len(self.decoder.log)
            with pytest.raises(InputError):
                self.engine.submit(request)
            assert len(self.decoder.log) == before
            return
        fresh = replace(strategy, history=[]) if kind == "pick" else Fan(rows, most)  # type: ignore[arg-type]
        known = alone(request, self.program.facts, fresh)
        if right is not None and kind == "pick":
            follows = [step.tokens[0] for step in known.history]  # type: ignore[attr-defined]
            request = replace(request, drafter=Foreteller((*ids, *follows), right))  # type: ignore[arg-type]
        self.tickets.append((self.engine.submit(request), known))

    def _again(self, which: int, tail: tuple[int, ...], how: tuple[object, ...]) -> None:
        if which < len(self.tickets):
            ticket, _ = self.tickets[which]
            self._submit((*ticket.request.ids, *ticket.tokens, *tail), (*how[:5], ticket.request.space, *how[6:]))

    def _cancel(self, which: int) -> None:
        if which < len(self.tickets):
            self.engine.cancel(self.tickets[which][0])
            assert self.tickets[which][0].done, "nobody drives, so it ends at once"

    def _time(self, seconds: int) -> None:
        self.now += seconds

    def _steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def step(self) -> bool:
        """A step, which an injected interrupt may end; nobody's request is cancelled for it."""
        self.now += 0.01
        writing = {n for n, (ticket, _) in enumerate(self.tickets) if ticket.tokens and not ticket.done}
        before = len(self.decoder.log)
        try:
            ran = self.engine.step()
        except KeyboardInterrupt:
            self.interrupts += 1
            return True
        for ticket, _ in self.tickets:
            deadline = ticket.request.deadline
            assert ticket.done or deadline is None or deadline >= self.now, "late"
        failed = any(call in self.program.failures for call in range(before, len(self.decoder.log)))
        runs = [name for name, _ in self.decoder.log[before:] if name != "copy"]
        assert len(runs) <= 1, "a step is one run"
        filled = runs == ["prefill"] and not failed
        if not filled or self.decoder.faults or any(ticket.lost for ticket, _ in self.tickets) or self.interrupts:
            waited: set[int] = set()  # what has lost its slot is a prompt again
        else:
            tickets = [ticket for ticket, _ in self.tickets]
            waited = {n for n in writing if not tickets[n].done and not tickets[n].request.patient}
            both = waited & self.waited if self.program.settings.prefill_runs == 1 else set()
            assert not both, f"{both} waited for two chunks"
        self.waited = waited
        return ran

    def _budget(self) -> int:
        facts, settings = self.program.facts, self.program.settings
        chunk = settings.chunk or facts.prefill_len
        runs = 0
        for ticket, known in self.tickets:
            rows = ticket.request.strategy.rows
            once = 2 + (len(ticket.request.ids) + len(known.history)) // chunk
            runs += rows * (once * (1 + len(self.program.failures)) + len(known.history))
        return 2 * runs + 2 * len(self.program.failures) + 2

    def _check(self) -> None:
        assert not self.decoder.faults
        for n, (ticket, known) in enumerate(self.tickets):
            assert ticket.done, f"{n} has not ended"
            history = list(ticket.request.strategy.history)  # type: ignore[attr-defined]
            assert history == known.history[: len(history)], f"{n} chose other tokens than alone"
            if ticket.error is not None:
                self._check_error(ticket)
            elif ticket.reason == "cancelled":
                assert ticket.cancelled or ticket.expired
            else:
                assert (ticket.reason, ticket.answers) == (known.reason, known.answers), f"{n} ended otherwise"
            if ticket.request.strategy.rows == 1:
                assert ticket.tokens == [one.tokens[0] for one in history]
        admitted = [ticket.admitted for ticket, _ in self.tickets if ticket.admitted is not None]
        assert admitted == sorted(admitted), "a request was overtaken"
        counts = self.engine.counts()
        assert counts.ended + counts.failed == len(self.tickets)
        assert not counts.waiting and not counts.running
        assert counts.held <= self.program.facts.cache_slots * self.program.facts.room
        assert counts.drafted == sum(ticket.drafted for ticket, _ in self.tickets)
        assert counts.accepted == sum(ticket.accepted for ticket, _ in self.tickets) <= counts.drafted

    def _check_error(self, ticket: Ticket) -> None:
        kinds = set(self.program.failures.values())
        if isinstance(ticket.error, DeviceError):
            assert "device" in kinds
            assert ticket.lost > self.program.settings.retries
        else:
            assert "other" in kinds
            assert isinstance(ticket.error, OSError)
