"""The engine over real sessions that keep state: behind every token stand the logits of that sequence alone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.errors import DeviceError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request, Ticket
from QEfficient.generation.schedule import EngineSettings
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.generation.strategy import Answer, NextTokens, Reason
from QEfficient.records import MODEL, CompileOptions, Program, Target
from tests import stateful_graphs as graphs
from tests.generation.hash_decoder import Fan, Pick
from tests.stateful_graphs import FORMS, Form


class Checked:
    """A strategy that holds each row's logits to the reference of that row's tokens."""

    def __init__(self, inner: Pick | Fan, prompt: Sequence[int], form: Form) -> None:
        self.rows, self._inner, self._form = inner.rows, inner, form
        self._sequences = [list(prompt)]

    def advance(self, logits: NDArray[np.float32]) -> NextTokens:
        expected = [graphs.reference(self._form, ids)[-1] for ids in self._sequences]
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        chosen = self._inner.advance(logits)
        self._sequences = [[*self._sequences[p], t] for p, t in zip(chosen.parents, chosen.tokens, strict=True)]
        return chosen

    def answers(self, reason: Reason | None = None) -> tuple[Answer, ...]:
        return self._inner.answers(reason)


class Failing(SessionDecoder):
    """Fails now and then, and leaves NaN in every slot."""

    failures: Sequence[int] = ()
    calls = 0

    def _count(self) -> None:
        self.calls += 1
        if self.calls in self.failures:
            for slot in range(self.facts.cache_slots):
                state = self.read(slot)
                self.write(slot, {name: np.full_like(array, np.nan) for name, array in state.items()})
            raise DeviceError("Injected.")

    def prefill(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        self._count()
        return super().prefill(chunks)

    def decode(self, rows: Sequence[Chunk]) -> NDArray[np.float32]:
        self._count()
        return super().decode(rows)


@pytest.fixture(scope="module", params=FORMS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Form, Program, Any]:
    form, folder = FORMS[request.param], tmp_path_factory.mktemp(request.param)
    backend = OnnxRuntimeBackend()
    model = graphs.make(folder / "graph", form)
    (folder / "program").mkdir()
    target = Target(backend.name, backend.compute[0], cores=14)
    program = backend.compile({MODEL: model}, {MODEL: form.shapes}, target, CompileOptions(), folder / "program")
    return form, program, backend


@pytest.mark.parametrize(("strict", "copy_saves"), [(False, None), (True, 2)])
@pytest.mark.parametrize("failures", [(), (9, 30)])
def test_each_row_has_its_own_logits(
    opened: tuple[Form, Program, Any], strict: bool, copy_saves: int | None, failures: Sequence[int]
) -> None:
    form, program, backend = opened
    random = Random(f"{form} {strict} {copy_saves}")
    decoder = Failing(backend.open(program, strict=strict), form.facts)
    decoder.failures = failures
    base = [random.randrange(graphs.VOCABULARY) for _ in range(form.ctx_len)]
    tickets: list[Ticket] = []
    with Engine(decoder, EngineSettings(chunk=random.randint(1, form.chunk), copy_saves=copy_saves)) as engine:
        for number in range(14):
            tail = [random.randrange(graphs.VOCABULARY) for _ in range(random.randint(1, 4))]
            ids = (*base[: random.randint(0, 8)], *tail)
            if number in (9, 11, 13):  # a chat's next turn
                engine.run_until(tickets[-1])
                ids = (*tickets[-1].request.ids, *tickets[-1].tokens, *tail)[: form.facts.room - 1]
            inner = (
                Fan(rows=random.randint(2, 3), most=6)
                if number % 4 == 3 and number < 8
                else Pick(most=random.randint(1, 8))
            )
            tickets.append(engine.submit(Request(ids, Checked(inner, ids, form))))
            for _ in range(random.randint(0, 4)):
                engine.step()
        engine.cancel(tickets[-1])
        for ticket in tickets:
            assert engine.run_until(ticket)
            assert ticket.reason in (("cancelled",) if ticket is tickets[-1] else ("stop", "length"))
        counts = engine.counts()
    assert counts.failures == len(failures)
    assert counts.reused
