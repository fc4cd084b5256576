"""The card's session that keeps state, over the fake SDK, held to the common suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from QEfficient.backends.base import Backend
from QEfficient.backends.qaic import QaicBackend
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.records import Program
from tests.backends.qaic.conftest import Remembering
from tests.backends.state_conformance import StateConformance, feed, same, text
from tests.sdk import make_sdk
from tests.stateful_graphs import FORMS, Form


class Conformance(StateConformance):
    tolerance = 5e-3  # fp16, and fp16 state
    state_dtype = "float16"
    generation = "new"

    @pytest.fixture
    def backend(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: Remembering) -> Backend:
        # several devices: a second session needs cores beside the first one's
        monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", generation=self.generation, devices=2).root))
        return QaicBackend(runner=runner)

    def poison(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Garbage is what the fake starts with."""

    @pytest.fixture
    def decoder(self, backend: Backend, program: Program, form: Form) -> Iterator[SessionDecoder]:
        """Shapes are always fixed."""
        with SessionDecoder(backend.open(program), form.facts) as decoder:
            yield decoder

    # A card's state is read and written in runs whose rows are idle. Without slots of its own an idle row writes to its
    # last position, which is never attended to, so that one is not as it was.

    def test_cleared_slots_are_zero(self, decoder: SessionDecoder) -> None:
        for slot in (0, 1):
            feed(decoder, slot, text(6))
        other = self.but_the_last(decoder.read(1))
        decoder.clear(0)
        assert not any(array.any() for array in self.but_the_last(decoder.read(0)).values())
        assert same(self.but_the_last(decoder.read(1)), other)
        decoder.clear()
        assert not any(array.any() for slot in range(4) for array in self.but_the_last(decoder.read(slot)).values())


class TestNewSdk(Conformance):
    pass


class TestOldSdk(Conformance):
    """Its runtime copies buffers, where the new one uses arrays in place: one graph shows it."""

    generation = "old"

    @pytest.fixture
    def form(self) -> Form:
        return FORMS["slots"]
