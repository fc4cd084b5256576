"""Faults of clients that retained state invites, each planted: the check that the right client passes, it fails.

They are those of the contract for generation, §6.3; a logits buffer of the wrong phase stands in
``test_vendor_loop.py``, where buffers are set by hand. The right client is :class:`Client`, over ``SessionDecoder`` on
the fake card; each fault is a client that differs in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.backends.qaic import QaicBackend
from QEfficient.errors import DeviceError, UsageError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.records import MODEL, Program, Target
from tests import stateful_graphs as graphs
from tests.backends.qaic.conftest import Remembering
from tests.backends.state_conformance import text
from tests.sdk import FakeSdk
from tests.stateful_graphs import FORMS, Form

Logits = Mapping[int, np.ndarray]


class Client:
    """Sequences in slots, as an engine has them."""

    def __init__(self, card: Card, form: Form) -> None:
        self.card, self.form = card, form
        self.ids: dict[int, list[int]] = {}
        self.open()

    def open(self) -> None:
        self.decoder = SessionDecoder(self.card.open(self.form), self.form.facts)

    def reopen(self) -> None:
        """After this every sequence is prefilled again."""
        self.decoder.close()
        self.open()
        self.again()

    def again(self) -> None:
        self.prefill(dict(self.ids))

    def prefill(self, prompts: Mapping[int, Sequence[int]], chunk: int = 8) -> Logits:
        """The logits behind each prompt's last token, from the chunk that holds it."""
        found = {}
        for slot, ids in prompts.items():
            self.ids[slot] = list(ids)
            for start in range(0, len(ids), chunk):
                [found[slot]] = self.decoder.prefill([Chunk(slot, ids[start : start + chunk], start)])
        return found

    def decode(self, tokens: Mapping[int, int]) -> Logits:
        rows = [Chunk(slot, [token], len(self.ids[slot])) for slot, token in tokens.items()]
        logits = self.step(rows)
        for slot, token in tokens.items():
            self.ids[slot].append(token)
        return dict(zip(tokens, logits[:, 0], strict=True))

    def step(self, rows: Sequence[Chunk]) -> np.ndarray:
        try:
            return self.decoder.decode(rows)
        except DeviceError:
            self.again()
            return self.decoder.decode(rows)

    def move(self, source: int, other: Client, target: int) -> None:
        """A sequence to a slot of another session, through the host."""
        other.decoder.write(target, self.decoder.read(source))
        other.ids[target] = list(self.ids[source])

    def check(self, logits: Logits) -> None:
        for slot, found in logits.items():
            expected = graphs.reference(self.form, self.ids[slot])[-1]
            np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)


class Card:
    """The fake card, and programs on it."""

    def __init__(self, sdk: FakeSdk, backend: QaicBackend, folder: Path) -> None:
        self.sdk, self.backend, self.folder = sdk, backend, folder
        self._programs: dict[Form, Program] = {}
        self._sessions: list[Any] = []

    def open(self, form: Form) -> Any:
        if form not in self._programs:
            folder = self.folder / f"program{len(self._programs)}"
            folder.mkdir()
            model, target = graphs.make(folder / "graph", form), Target("qaic", "fp16", 4)
            options = self.backend.parse_options({})
            made = self.backend.compile({MODEL: model}, {MODEL: form.shapes}, target, options, folder)
            self._programs[form] = made
        self._sessions.append(self.backend.open(self._programs[form]))
        return self._sessions[-1]

    def close(self) -> None:
        self.sdk.set(status={}, throw={})
        for session in self._sessions:
            session.close()


@pytest.fixture
def card(sdk: FakeSdk, runner: Remembering, tmp_path: Path) -> Iterator[Card]:
    card = Card(sdk, QaicBackend(runner=runner), tmp_path)
    yield card
    card.close()


SLOTS, PLAIN = FORMS["slots"], FORMS["plain"]
New = Callable[[Form], Client]

# ------------------------------------------------------------------------------------------------ the first token


class LastChunk(Client):
    """One batch of all prompts, chunk after chunk, and every row's logits from the last of them."""

    def prefill(self, prompts: Mapping[int, Sequence[int]], chunk: int = 8) -> Logits:
        self.ids |= {slot: list(ids) for slot, ids in prompts.items()}
        found: dict[int, np.ndarray] = {}
        for start in range(0, max(map(len, prompts.values())), chunk):
            ids, places = np.zeros((4, chunk), np.int64), np.full((4, chunk), -1)
            for slot, prompt in prompts.items():
                part = prompt[start : start + chunk]
                ids[slot, : len(part)], places[slot, : len(part)] = part, range(start, start + len(part))
            session: Any = self.decoder._session
            logits = session.run({"input_ids": ids, "position_ids": places})["logits"]
            found = {slot: logits[slot, 0] for slot in prompts}
        return found


def mixed_lengths(new: New) -> None:
    client = new(PLAIN)
    client.check(client.prefill({0: text(13), 1: text(3, 1), 2: text(8, 2), 3: text(16, 3)}))


# ------------------------------------------------------------------------------------------------ other requests


class NoRestart(Client):
    """A new request goes on where the last one of the slot ended."""

    def prefill(self, prompts: Mapping[int, Sequence[int]], chunk: int = 8) -> Logits:
        before = {slot: self.ids.get(slot, []) for slot in prompts}
        found = {}
        for slot, ids in prompts.items():
            self.ids[slot] = list(ids)
            for start in range(0, len(ids), chunk):
                part = Chunk(slot, ids[start : start + chunk], len(before[slot]) + start)
                [found[slot]] = self.decoder.prefill([part])
        return found


def a_slot_used_again(new: New) -> None:
    client = new(SLOTS)
    client.prefill({1: text(10)})
    client.check(client.prefill({1: text(6, 1)}))


class NotPrefilled(Client):
    """A request is in its slot before its prompt is."""

    def prefill(self, prompts: Mapping[int, Sequence[int]], chunk: int = 8) -> Logits:
        self.ids |= {slot: list(ids) for slot, ids in prompts.items()}
        return {}


def a_slot_that_is_decoded(new: New) -> None:
    client = new(SLOTS)
    client.prefill({2: text(9)})
    client.check(client.decode({2: 5}))


class LiveIdle(Client):
    """Rows without a request name a slot that has one, and its first position."""

    def step(self, rows: Sequence[Chunk]) -> np.ndarray:
        named = {row.slot for row in rows}
        idle = [Chunk(slot, [0], 0) for slot in range(4) if slot not in named]
        return self.decoder.decode([*rows, *idle][:3])[: len(rows)]


class TwiceIdle(Client):
    """Rows without a request repeat the first one's: one slot is named twice."""

    def step(self, rows: Sequence[Chunk]) -> np.ndarray:
        every = [*rows, *([rows[0]] * 3)][:3]
        session: Any = self.decoder._session
        arrays = {
            "input_ids": np.array([row.ids for row in every]),
            "position_ids": np.array([[row.start] for row in every]),
            "batch_index": np.array([[row.slot] for row in every]),
        }
        return np.asarray(session.run(arrays)["logits"][: len(rows)])


def neighbours_of_a_step(new: New) -> None:
    client = new(SLOTS)
    client.prefill({slot: text(9, slot) for slot in range(4)})
    for token in range(3):
        client.check(client.decode({1: token}))
    client.check(client.decode({0: 5, 2: 6, 3: 7}))


# ------------------------------------------------------------------------------------------------ the end of a cache


class PastTheEnd(Client):
    """No length is compared with ctx_len."""

    def step(self, rows: Sequence[Chunk]) -> np.ndarray:
        session: Any = self.decoder._session
        ids, places, slots = np.zeros((3, 1), np.int64), np.full((3, 1), -1), np.full((3, 1), -1)
        for place, row in enumerate(rows):
            ids[place], places[place], slots[place] = row.ids, row.start, row.slot
        arrays = {"input_ids": ids, "position_ids": places, "batch_index": slots}
        return np.asarray(session.run(arrays)["logits"][: len(rows)])


def a_full_cache(new: New) -> None:
    """Each token counts, or there is an error."""
    client = new(SLOTS)
    client.prefill({0: text(SLOTS.ctx_len)})
    try:
        one = client.decode({0: 5})
    except UsageError:
        return
    client.ids[0].pop()
    assert not np.array_equal(one[0], client.decode({0: 6})[0])
    raise AssertionError("a token beyond the cache was taken")


# ------------------------------------------------------------------------------------------------ failures


class Careless(Client):
    """What a failed run leaves is taken for what was there."""

    def again(self) -> None:
        pass


def a_failed_prefill(new: New) -> None:
    client = new(SLOTS)
    client.prefill({0: text(9), 1: text(7, 1)})
    client.card.sdk.set(status={"waitForCompletion": "QS_TIMEDOUT"})
    with pytest.raises(DeviceError):
        client.prefill({2: text(5, 2)})
    client.card.sdk.set(status={})
    client.again()
    client.check(client.decode({0: 4, 1: 5, 2: 6}))


def a_failed_prefill_of_one(new: New) -> None:
    """Whatever a failure leaves of the other slots, all count as lost."""
    client = new(SLOTS)
    client.prefill({0: text(9), 1: text(7, 1)})
    client.card.sdk.set(status={"waitForCompletion": "QS_ERROR"}, lost_slots="all")
    with pytest.raises(DeviceError):
        client.prefill({2: text(5, 2)})
    client.card.sdk.set(status={})
    client.again()
    client.check(client.decode({0: 4, 1: 5}))


def another_activation(new: New) -> None:
    client = new(SLOTS)
    client.prefill({0: text(9)})
    client.reopen()
    client.check(client.decode({0: 4}))


# ------------------------------------------------------------------------------------------------ several sessions


class Shared(Client):
    """What one session prefills is taken to be in every session of the program."""

    def move(self, source: int, other: Client, target: int) -> None:
        other.ids[target] = list(self.ids[source])


class HalfMoved(Client):
    """Values stay behind: the target's are of another sequence."""

    def move(self, source: int, other: Client, target: int) -> None:
        state, old = self.decoder.read(source), other.decoder.read(target)
        mixed = {name: (state if "key" in name else old)[name] for name in state}
        other.decoder.write(target, mixed)
        other.ids[target] = list(self.ids[source])


def two_sessions(new: New) -> None:
    """Each goes on with its own; what is moved goes on in the other, the caches having been on the host."""
    one, other = new(SLOTS), new(SLOTS)
    one.prefill({0: text(9)})
    other.prefill({0: text(9, 1), 2: text(11, 2)})
    one.move(0, other, 2)
    one.check(one.decode({0: 4}))
    other.check(other.decode({0: 4, 2: 5}))


# ------------------------------------------------------------------------------------------------ chunks, batches


class ChunksFromZero(Client):
    """Each chunk counts its positions from 0."""

    def prefill(self, prompts: Mapping[int, Sequence[int]], chunk: int = 8) -> Logits:
        found = {}
        for slot, ids in prompts.items():
            self.ids[slot] = list(ids)
            for start in range(0, len(ids), chunk):
                [found[slot]] = self.decoder.prefill([Chunk(slot, ids[start : start + chunk], 0)])
        return found


class RowIsSlot(Client):
    """A row's place in the batch is taken for its slot."""

    def step(self, rows: Sequence[Chunk]) -> np.ndarray:
        return self.decoder.decode([Chunk(place, row.ids, row.start) for place, row in enumerate(rows)])


class RowsByNumber(Client):
    """Results are handed out in the order of slots, whatever order was asked for."""

    def step(self, rows: Sequence[Chunk]) -> np.ndarray:
        return self.decoder.decode(sorted(rows, key=lambda row: row.slot))


def any_chunk_slot_and_batch(new: New) -> None:
    ids = text(11)
    seen = []
    client = new(SLOTS)
    for chunk, slot in ((8, 3), (1, 0), (3, 2), (7, 1)):
        logits = client.prefill({slot: ids}, chunk)
        client.check(logits)
        tokens = [int(logits[slot].argmax())]
        for others in ((), (0, 1, 2, 3), (3, 1)):
            mates = [other for other in others if other != slot and other in client.ids][:2]
            order = [*mates, slot] if chunk % 2 else [slot, *mates]
            found = client.decode({one: tokens[-1] if one == slot else 9 for one in order})
            client.check(found)
            tokens.append(int(found[slot].argmax()))
        seen.append(tuple(tokens))
    assert len(set(seen)) == 1


OTHER, NAN = "Mismatched elements", "nan location mismatch"
# the check, who fails it, and how it shows
CASES: list[tuple[Callable[[New], None], type[Client], str]] = [
    (mixed_lengths, LastChunk, OTHER),
    (a_slot_used_again, NoRestart, OTHER),
    (a_slot_that_is_decoded, NotPrefilled, NAN),
    (neighbours_of_a_step, LiveIdle, OTHER),
    (neighbours_of_a_step, TwiceIdle, "named twice"),
    (a_full_cache, PastTheEnd, "beyond the cache"),
    (a_failed_prefill, Careless, NAN),
    (a_failed_prefill_of_one, Careless, NAN),
    (another_activation, Careless, NAN),
    (two_sessions, Shared, OTHER),
    (two_sessions, HalfMoved, OTHER),
    (any_chunk_slot_and_batch, ChunksFromZero, OTHER),
    (any_chunk_slot_and_batch, RowIsSlot, NAN),
    (any_chunk_slot_and_batch, RowsByNumber, OTHER),
]


@pytest.mark.parametrize("scenario", dict.fromkeys(scenario for scenario, *_ in CASES), ids=lambda s: s.__name__)
def test_the_right_client_passes(card: Card, scenario: Callable[[New], None]) -> None:
    scenario(lambda form: Client(card, form))


@pytest.mark.parametrize(("scenario", "fault", "shows"), CASES, ids=[f"{s.__name__}-{f.__name__}" for s, f, _ in CASES])
def test_the_fault_shows(card: Card, scenario: Callable[[New], None], fault: type[Client], shows: str) -> None:
    with pytest.raises((AssertionError, DeviceError), match=shows):
        scenario(lambda form: fault(card, form))
