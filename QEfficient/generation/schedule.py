"""What runs next: a chunk of a prompt, or one token of every sequence that is past its prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from QEfficient.arguments import is_number, positive, whole
from QEfficient.errors import OptionError
from QEfficient.generation.running import Running, SlotSequence
from QEfficient.generation.slot_table import SlotTable
from QEfficient.records import DecoderFacts

HOST_TOKEN, CARD_TOKEN = 0.21, 0.005
"""``token_cost`` on a host's CPUs and on a card, whose arithmetic is far ahead of its memory."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine shares a program. No setting changes what is written.

    Attributes:
        chunk: Tokens of a prompt that run at once, at most; ``None``: as many as the program is compiled for.
        prefill_runs: Runs of prompts between two decode steps, at most, while there is something to decode. More of
            them start waiting requests sooner and let those that run wait longer.
        patient_runs: The same where all that is to be decoded is of patient requests.
        retries: How many failures of the device a request outlives: what its slots held is then run again.
        copy_saves: Tokens of a prompt that a copy of another slot must save; ``None``: no copies for that. Beams copy
            their slots in any case.
        token_cost: What a second token in a decode step takes more, ÷ what one alone takes: so many tokens are drafted
            as are worth their time (``prompt_lookup.run_time``).
    """

    chunk: int | None = None
    prefill_runs: int = 1
    patient_runs: int = 64
    retries: int = 2
    copy_saves: int | None = 64
    token_cost: float = HOST_TOKEN

    def check(self, facts: DecoderFacts) -> None:
        """Refuses what is no number, and a chunk that the program does not take.

        Raises:
            OptionError: One of these.
        """
        positive("prefill_runs", self.prefill_runs, "runs")
        positive("patient_runs", self.patient_runs, "runs")
        if self.copy_saves is not None:
            positive("copy_saves", self.copy_saves, "tokens")
        if not is_number(self.token_cost) or not 0 <= self.token_cost < math.inf:
            do = "pass 0 where more tokens take no more time"
            raise OptionError("token_cost is no cost.", got=self.token_cost, allowed="a number from 0 on", do=do)
        if (whole(self.retries) or 0) < 0 or whole(self.retries) is None:
            do = "pass 0 to fail at once"
            raise OptionError("retries is no count.", got=self.retries, allowed="a whole number from 0 on", do=do)
        if self.chunk is not None and positive("chunk", self.chunk, "tokens") > facts.prefill_len:
            raise OptionError(
                "The chunk is longer than the program takes.",
                got=f"chunk={self.chunk}",
                allowed=f"1 to {facts.prefill_len}",
                do="choose a shorter one, or compile with a larger prefill_seq_len",
            )


@dataclass(frozen=True, slots=True)
class NextRun:
    """What runs next.

    Attributes:
        prefill: Chunks of prompts; else a decode step.
        sequences: Of which sequences.
    """

    prefill: bool
    sequences: Sequence[SlotSequence]


def next_run(
    running: Sequence[Running], table: SlotTable, facts: DecoderFacts, settings: EngineSettings, prefills: int
) -> NextRun | None:
    """What runs next; ``None``: nothing is to be run.

    Prompts are run in the order in which their requests came, each to its end; without slots one run takes a chunk of
    each. Of the sequences to be decoded, those that have waited longest come first: more than fit take turns. A
    sequence with one token left goes with these, whether it was chosen or is the last of a prompt.

    Args:
        running: Requests that have slots, in the order in which they came.
        table: What the slots hold.
        facts: What the program is compiled for.
        settings: How it is shared.
        prefills: Runs of prompts since the last decode step.
    """
    filling: list[SlotSequence] = []
    ready: list[SlotSequence] = []
    patient = True
    for request in running:
        for sequence in request.sequences:
            if sequence.behind is None:
                held = table.length(sequence.slot) if sequence.begun else 0
                if held and held + 1 == len(sequence.ids):
                    ready.append(sequence)
                    patient = patient and request.ticket.request.patient
                else:
                    filling.append(sequence)
    most = settings.patient_runs if patient else settings.prefill_runs
    if filling and (not ready or prefills < most):
        return NextRun(True, filling[:1] if facts.continuous else filling)
    if not ready:
        return None
    if len(ready) > facts.decode_rows:
        ready.sort(key=lambda sequence: sequence.turn)
    return NextRun(False, ready[: facts.decode_rows])
