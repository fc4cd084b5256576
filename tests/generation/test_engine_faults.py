"""Faults that are planted in an engine, each of which the random programs find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from QEfficient.generation import admission, running, schedule, stepper
from QEfficient.generation.admission import Admission
from QEfficient.generation.running import Running, SlotSequence
from QEfficient.generation.slot_table import SlotTable
from QEfficient.generation.stepper import Stepper
from QEfficient.generation.strategy import NextTokens
from tests.generation.engine_model import Played, random_program

PROGRAMS = 400
Patch = Callable[[pytest.MonkeyPatch], None]


def crossed_rows(patch: pytest.MonkeyPatch) -> None:
    """The logits of a decode step go to the sequences in another order."""
    run = Stepper._run

    def crossed(self: Stepper, call: Any, sequences: Any, chunks: Any) -> Any:
        return np.roll(run(self, call, sequences, chunks), 1, axis=0)

    patch.setattr(Stepper, "_run", crossed)


def kept_after_a_failure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotTable, "lose_all", lambda self: None)


def kept_after_an_interrupt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotTable, "lose", lambda self, slots: None if len(slots) == 1 else _lose(self, slots))


def _lose(table: SlotTable, slots: Sequence[int]) -> None:
    for slot in slots:
        table._lengths[slot] = 0


def one_too_many_reused(patch: pytest.MonkeyPatch) -> None:
    usable = SlotTable.usable

    def one_more(self: SlotTable, slot: int, ids: Any, space: Any) -> int:
        found = usable(self, slot, ids, space)
        return min(found + 1, self.length(slot), len(ids) - 1) if found else 0

    patch.setattr(SlotTable, "usable", one_more)


def rewound_windows(patch: pytest.MonkeyPatch) -> None:
    made = SlotTable.__init__

    def always(self: SlotTable, facts: Any) -> None:
        made(self, facts)
        self._rewinds = True

    patch.setattr(SlotTable, "__init__", always)


def whole_prompt_reused(patch: pytest.MonkeyPatch) -> None:
    """Nothing is left to be run for its logits."""
    usable = SlotTable.usable
    longer = np.zeros(1, np.int64)
    patch.setattr(SlotTable, "usable", lambda self, slot, ids, space: usable(self, slot, np.append(ids, longer), space))


def beams_not_copied(patch: pytest.MonkeyPatch) -> None:
    branch = running.branch

    def without(request: Running, tokens: NextTokens, turn: int) -> Any:
        after, copies = branch(request, tokens, turn)
        return after, [(one, other) for one, other in copies if other != request.slots[-1]]

    def no_loss(self: SlotTable, slots: Sequence[int]) -> None:
        return None

    patch.setattr(stepper, "branch", without)
    patch.setattr(SlotTable, "lose", no_loss)


def parents_swapped(patch: pytest.MonkeyPatch) -> None:
    branch = running.branch

    def swapped(request: Running, tokens: NextTokens, turn: int) -> Any:
        return branch(request, NextTokens(tokens.parents[::-1], tokens.tokens, tokens.done), turn)

    patch.setattr(stepper, "branch", swapped)


def slots_shared(patch: pytest.MonkeyPatch) -> None:
    """A request gets slots that another still has."""
    oldest = SlotTable.oldest
    patch.setattr(SlotTable, "oldest", lambda self, free, count: oldest(self, range(len(self)), count))


def overtaken(patch: pytest.MonkeyPatch) -> None:
    admit = Admission.admit

    def smallest_first(self: Admission, turn: int) -> None:
        self.waiting = type(self.waiting)(sorted(self.waiting, key=lambda ticket: ticket.request.strategy.rows))
        admit(self, turn)

    patch.setattr(Admission, "admit", smallest_first)


def prompts_before_all(patch: pytest.MonkeyPatch) -> None:
    """Sequences wait until there is no prompt left to be run."""
    following = schedule.next_run

    def first(running: Any, table: Any, facts: Any, settings: Any, prefills: int) -> Any:
        return following(running, table, facts, settings, 0)

    patch.setattr(stepper, "next_run", first)


def too_many_rows(patch: pytest.MonkeyPatch) -> None:
    following = schedule.next_run

    def all_rows(running: Any, table: Any, facts: Any, settings: Any, prefills: int) -> Any:
        from dataclasses import replace

        return following(running, table, replace(facts, decode_rows=facts.cache_slots), settings, prefills)

    patch.setattr(stepper, "next_run", all_rows)


def past_the_room(patch: pytest.MonkeyPatch) -> None:
    made = Running

    def longer(ticket: Any, slots: Any, sequences: Any, limit: int) -> Running:
        return made(ticket, slots, sequences, limit + 2)

    patch.setattr(admission, "Running", longer)


def cancelled_goes_on(patch: pytest.MonkeyPatch) -> None:
    over = Admission._over
    patch.setattr(Admission, "_over", lambda self, ticket, now: ticket not in self.waiting and over(self, ticket, now))


def deadlines_ignored(patch: pytest.MonkeyPatch) -> None:
    over = Admission._over
    patch.setattr(Admission, "_over", lambda self, ticket, now: over(self, ticket, 0.0))


def strategy_asked_twice(patch: pytest.MonkeyPatch) -> None:
    """After a failure a sequence begins at its prompt again."""
    lost = Stepper._lost

    def from_the_prompt(self: Stepper, error: Exception, culprits: Sequence[Running]) -> None:
        lost(self, error, culprits)
        for request in self.admission.running:
            request.sequences = [SlotSequence(list(request.ticket.request.ids), request.slots[0], 0)]

    patch.setattr(Stepper, "_lost", from_the_prompt)


FAULTS: list[Patch] = [
    crossed_rows,
    kept_after_a_failure,
    kept_after_an_interrupt,
    one_too_many_reused,
    rewound_windows,
    whole_prompt_reused,
    beams_not_copied,
    parents_swapped,
    slots_shared,
    overtaken,
    prompts_before_all,
    too_many_rows,
    past_the_room,
    cancelled_goes_on,
    deadlines_ignored,
    strategy_asked_twice,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    for seed in range(PROGRAMS):
        try:
            Played(random_program(Random(seed))).play()
        except Exception:  # however it shows
            return
    pytest.fail(f"no program of {PROGRAMS} finds it")
