"""The engine's loop, one run at a time: what runs, and whose next token is chosen.

Whatever interrupts a step, the next one goes on from what is certain. What a sequence has to hold is its ids; what its
slot does hold stands in the table, and a slot that a run was about to write counts as lost until the run is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import DeviceError, NumericsError
from QEfficient.generation.admission import Admission
from QEfficient.generation.decoder import Chunk, Decoder
from QEfficient.generation.prompt_lookup import Draft, rows_width
from QEfficient.generation.running import Behind, Running, SlotSequence, branch, check
from QEfficient.generation.schedule import EngineSettings, next_run


class Stepper:
    """Requests over the slots of a decoder. One thread at a time.

    Args:
        decoder: The program.
        settings: How it is shared.
        clock: Seconds that deadlines are in.
    """

    def __init__(self, decoder: Decoder, settings: EngineSettings, clock: Callable[[], float]) -> None:
        self.decoder, self.settings, self.clock = decoder, settings, clock
        self.admission = Admission(decoder.facts, settings, clock)
        self.table, self._counts = self.admission.table, self.admission.counts
        self._prefills = 0  # since the last decode step
        self._turn = 0
        self._at_work: list[Running] = []  # whose run it is

    def step(self) -> bool:
        """One run of the decoder, and the tokens that follow from it; ``False``: there was nothing to run."""
        began = perf_counter()
        try:
            self.admission.reap()
            self.admission.admit(self._turn)
            self._choose()  # of what an interrupt left over
            try:
                ran = self._run_next()
            except Exception as error:  # whatever a decoder raises: nobody knows what it has written
                ran = True
                self._lost(error, () if isinstance(error, DeviceError) else self._at_work)
            self._choose()
            self.admission.reap()  # who was cancelled meanwhile need not wait for another step
            return ran
        finally:
            self._counts.step_seconds += perf_counter() - began

    def _run_next(self) -> bool:
        facts = self.decoder.facts
        while True:
            run = next_run(self.admission.running, self.table, facts, self.settings, self._prefills)
            if run is None:
                return False
            fresh = [one for one in run.sequences if not one.begun or not self.table.length(one.slot)]
            if not any([self._begin(one) for one in fresh]):
                break
        self._turn += 1
        (self._prefill if run.prefill else self._decode)(run.sequences)
        return True

    def _begin(self, sequence: SlotSequence) -> bool:
        """Finds what a sequence can go on from, in its slot or by a copy of another; whether there is anything."""
        request = self._of(sequence)
        space, saves = request.ticket.request.whole_space, self.settings.copy_saves
        ids = np.array(sequence.ids, np.int64)
        kept = self.table.usable(sequence.slot, ids, space)
        source, more = self.table.source(sequence.slot, ids, space) if saves is not None else (0, 0)
        if saves is not None and more - kept >= saves:
            self._copy(source, sequence.slot, more, request)
            self._prefills += 1  # it takes a run's place: others don't wait for many copies
            kept = more
        self.table.begin(sequence.slot, kept, space)
        sequence.begun = True
        self._counts.reused += kept
        if not request.chosen:
            request.ticket.reused += kept
        return kept > 0

    def _of(self, sequence: SlotSequence) -> Running:
        return next(request for request in self.admission.running if sequence.slot in request.slots)

    def _prefill(self, sequences: Sequence[SlotSequence]) -> None:
        length = self.settings.chunk or self.decoder.facts.prefill_len
        chunks = []
        for sequence in sequences:
            start = self.table.length(sequence.slot)
            source = () if start else self._of(sequence).ticket.request.source
            chunks.append(Chunk(sequence.slot, sequence.ids[start : start + length], start, source))
        began = perf_counter()
        logits = self._run(self.decoder.prefill, sequences, chunks)
        self._counts.prefill_seconds += perf_counter() - began
        self._counts.prefill_runs += 1
        self._prefills += 1
        for sequence, request, chunk, row in zip(sequences, self._at_work, chunks, logits, strict=True):
            self._counts.prefilled += len(chunk.ids)
            request.ticket.prefilled += len(chunk.ids)
            self.table.hold(chunk.slot, chunk.start, chunk.ids)
            if self.table.length(chunk.slot) == len(sequence.ids):
                sequence.behind = Behind(row[None])
        self.admission.touched = ()

    def _decode(self, sequences: Sequence[SlotSequence]) -> None:
        drafts = self._drafts(sequences)
        rows = [
            Chunk(one.slot, (one.ids[-1], *draft), len(one.ids) - 1)
            for one, draft in zip(sequences, drafts, strict=True)
        ]
        began = perf_counter()
        logits = self._run(self.decoder.decode, sequences, rows)
        self._counts.decode_seconds += perf_counter() - began
        self._counts.decode_runs += 1
        self._counts.decoded += len(rows)
        self._counts.drafted += sum(map(len, drafts))
        self._prefills = 0
        for sequence, request, row, draft, behind in zip(sequences, self._at_work, rows, drafts, logits, strict=True):
            request.ticket.decoded += 1
            request.ticket.drafted += len(draft)
            self.table.hold(row.slot, row.start, row.ids)
            sequence.behind = Behind(behind[-len(row.ids) :], draft)
        self.admission.touched = ()

    def _drafts(self, sequences: Sequence[SlotSequence]) -> list[tuple[int, ...]]:
        """The tokens that are run behind each sequence's last one: as many as are worth their time together."""
        found = []
        for sequence in sequences:
            request = self._of(sequence)
            drafter = request.ticket.request.drafter
            most = min(self.decoder.facts.kept_logits, request.limit - request.chosen) - 1  # one is chosen in any case
            found.append(Draft() if drafter is None else drafter.draft(sequence.ids, most))
        width = rows_width(found, self.settings.token_cost)
        return [draft.ids[: width - 1] for draft in found]

    def _run(
        self,
        call: Callable[[Sequence[Chunk]], NDArray[np.float32]],
        sequences: Sequence[SlotSequence],
        chunks: Sequence[Chunk],
    ) -> NDArray[np.float32]:
        """Runs chunks; until what they wrote is noted, the slots count as lost."""
        owners = {slot: request for request in self.admission.running for slot in request.slots}
        self._at_work = [owners[sequence.slot] for sequence in sequences]
        self.admission.touched = tuple(chunk.slot for chunk in chunks)
        return call(chunks)

    def _copy(self, source: int, target: int, length: int, request: Running) -> None:
        self._at_work, self.admission.touched = [request], (target,)
        began = perf_counter()
        self.decoder.copy(source, target, length)
        self._counts.copy_seconds += perf_counter() - began
        self._counts.copies += 1
        self.table.copy(source, target, length)
        self.admission.touched = ()

    def _lost(self, error: Exception, culprits: Sequence[Running]) -> None:
        """After a failure no slot holds anything: what has run there runs again, or fails."""
        self.table.lose_all()
        self.admission.touched = ()
        self._counts.failures += 1
        for request in list(self.admission.running):
            hurt = any(sequence.begun for sequence in request.sequences)
            request.ticket.lost += hurt
            for sequence in request.sequences:
                sequence.begun = False
            if request in culprits or (hurt and request.ticket.lost > self.settings.retries):
                self.admission.fail(request, error)

    def _choose(self) -> None:
        """Lets every strategy choose that has the logits of all its sequences."""
        for request in list(self.admission.running):
            while not request.ticket.done and (logits := request.logits()) is not None:
                self._advance(request, logits)

    def _advance(self, request: Running, logits: NDArray[np.float32]) -> None:
        ticket, strategy = request.ticket, request.ticket.request.strategy
        request.choosing = True
        began = perf_counter()
        try:
            if not np.isfinite(logits.max()):  # the largest is NaN where any is
                raise NumericsError(
                    "The program gave numbers of which no token can be chosen.",
                    got=f"NaN or Inf among the logits behind {request.chosen} new tokens",
                    allowed="finite logits",
                    do="compile with a wider compute, such as 'fp32'",
                )
            chosen = strategy.advance(logits)
            check(chosen, len(request.sequences), strategy.rows)
        except Exception as error:  # whatever a strategy raises is its own request's fault
            self.admission.fail(request, error)
            return
        finally:
            self._counts.choose_seconds += perf_counter() - began
        if ticket.first is None:
            ticket.first = self.clock()
        request.chosen += 1
        if request.drafted(chosen):
            self._counts.accepted += 1
            ticket.accepted += 1
        if strategy.rows == 1:
            ticket.tokens.extend(chosen.tokens)
        if chosen.done is not None or request.chosen >= request.limit:
            self._settle(request, 0)
            self.admission.end(request, chosen.done or "length", own=chosen.done is not None)
        else:
            request.sequences, copies = branch(request, chosen, self._turn)
            self.table.lose([target for _, target in copies])  # an interrupt from here on costs time and no token
            self._settle(request, 1)
            request.choosing = False
            self._branch(request, copies)

    def _settle(self, request: Running, unrun: int) -> None:
        """Behind the tokens that were chosen, of which the last few were not run yet, no drafted one counts."""
        for sequence in request.sequences:
            if sequence.behind is None or not unrun:
                self.table.keep(sequence.slot, len(sequence.ids) - unrun)

    def _branch(self, request: Running, copies: Sequence[tuple[int, int]]) -> None:
        try:
            for source, target in copies:
                if length := self.table.length(source):
                    self._copy(source, target, length, request)
        except Exception as error:  # as in a run
            self._lost(error, () if isinstance(error, DeviceError) else [request])
