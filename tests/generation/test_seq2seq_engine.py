"""Requests with a source in the engine: what a slot holds is gone on with only where the source is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from QEfficient.errors import InputError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request
from QEfficient.generation.schedule import EngineSettings
from QEfficient.records import DecoderFacts
from tests.generation.hash_decoder import Failure, Fan, HashDecoder, Pick, hashed

FACTS = DecoderFacts(32, 3, 3, 4, encoder_ctx_len=8)


class SourceDecoder(HashDecoder):
    """Its logits depend on the source that came into a slot, too."""

    def __init__(self, facts: DecoderFacts, failures: dict[int, Failure] | None = None) -> None:
        super().__init__(facts, failures)
        self.sources: list[tuple[int, ...]] = [()] * facts.cache_slots
        self.reads = 0

    def prefill(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        for chunk in chunks:
            assert bool(chunk.source) == (not chunk.start)
            if chunk.source:
                self.sources[chunk.slot] = tuple(chunk.source)
                self.reads += 1
        super().prefill(chunks)
        return np.stack([self._behind(chunk) for chunk in chunks])

    def decode(self, rows: Sequence[Chunk]) -> NDArray[np.float32]:
        super().decode(rows)
        return np.stack([self._behind(row)[None] for row in rows])

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        super().copy(source, target, length)
        self.sources[target] = self.sources[source]

    def _behind(self, chunk: Chunk) -> NDArray[np.float32]:
        return hashed([*self.sources[chunk.slot], -1, *(self.slots[chunk.slot] or ())])


def alone(source: tuple[int, ...], prompt: tuple[int, ...], count: int) -> list[int]:
    """The likeliest token each time."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(hashed([*source, -1, *ids]).argmax()))
    return ids[len(prompt) :]


def request(source: tuple[int, ...], prompt: tuple[int, ...] = (0,), count: int = 6) -> Request:
    return Request(prompt, Pick(most=count), source=source)


def test_each_has_its_own_source() -> None:
    engine = Engine(SourceDecoder(FACTS))
    wanted = [((1, 2, 3), (0,)), ((1, 2), (0,)), ((4,), (0, 5, 6, 7, 8)), ((1, 2, 3), (0, 9)), ((7, 7), (0,))]
    tickets = [engine.submit(request(source, prompt)) for source, prompt in wanted]
    for ticket, (source, prompt) in zip(tickets, wanted, strict=True):
        assert list(engine.run_until(ticket)[0].ids) == alone(source, prompt, 6)


def test_a_prefix_counts_under_the_same_source_only() -> None:
    decoder = SourceDecoder(FACTS)
    engine = Engine(decoder, EngineSettings(copy_saves=1))
    prompt = (0, 5, 6, 7, 8)
    for source, reads in (((1, 2), 1), ((1, 2), 1), ((1, 3), 2), ((1, 2), 2)):
        ticket = engine.submit(request(source, prompt))
        assert list(engine.run_until(ticket)[0].ids) == alone(source, prompt, 6)
        assert decoder.reads == reads


def test_after_a_failure_the_source_is_read_again() -> None:
    decoder = SourceDecoder(FACTS, {5: "device"})
    engine = Engine(decoder)
    tickets = [engine.submit(request((1, 2, number))) for number in range(3)]
    for number, ticket in enumerate(tickets):
        assert list(engine.run_until(ticket)[0].ids) == alone((1, 2, number), (0,), 6)
    assert decoder.reads > 3


def test_beams_share_a_source_by_copies() -> None:
    decoder = SourceDecoder(FACTS)
    engine = Engine(decoder)
    engine.run_until(engine.submit(Request((0,), Fan(3, 5), source=(4, 5))))
    assert decoder.reads == 1
    assert decoder.sources == [(4, 5)] * 3


@pytest.mark.parametrize("length", [0, 9])
def test_a_source_that_does_not_fit(length: int) -> None:
    engine = Engine(SourceDecoder(FACTS))
    with pytest.raises(InputError, match="1 to 8"):
        engine.submit(request((1,) * length))


def test_a_program_without_an_encoder_takes_none() -> None:
    engine = Engine(HashDecoder(DecoderFacts(32, 3, 3, 4)))
    with pytest.raises(InputError, match="no encoder"):
        engine.submit(request((1, 2)))
