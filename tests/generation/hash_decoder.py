"""A decoder whose logits are a hash of the tokens that a slot holds: any row lost or crossed gives other tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.errors import DeviceError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.strategy import Answer, NextTokens, Reason
from QEfficient.records import DecoderFacts

VOCABULARY = 16
Failure = Literal["device", "interrupt", "other"]


def hashed(ids: Sequence[int]) -> NDArray[np.float32]:
    """Logits behind a sequence, ``(vocabulary,)``."""
    digest = hashlib.blake2b(np.array(ids, np.int64).tobytes(), digest_size=2 * VOCABULARY).digest()
    return np.frombuffer(digest, np.uint16).astype(np.float32) / 4096


class HashDecoder:
    """Slots of ids. What was never written gives NaN; what a failure left is junk.

    Args:
        facts: What it is.
        failures: Number of a call, from 0 → what happens in it.
    """

    def __init__(self, facts: DecoderFacts, failures: Mapping[int, Failure] | None = None) -> None:
        self.facts, self.failures = facts, dict(failures or {})
        self.slots: list[list[int] | None] = [None] * facts.cache_slots
        self.log: list[tuple[str, tuple[int, ...]]] = []  # each call, and its slots
        self.faults: list[str] = []  # of the caller
        self.widths: list[int] = []  # of each decode that came to its end
        self.closed = False
        self._reached = [0] * facts.cache_slots  # positions that were written since a slot began anew
        self._junk = Random(1)

    def prefill(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        self._called("prefill", [chunk.slot for chunk in chunks])
        self._refuse(not chunks, "an empty run")
        for chunk in chunks:
            self._refuse(not 1 <= len(chunk.ids) <= self.facts.prefill_len, f"a chunk of {len(chunk.ids)}")
        return np.stack([self._write(chunk)[-1] for chunk in chunks])

    def decode(self, rows: Sequence[Chunk]) -> NDArray[np.float32]:
        self._called("decode", [row.slot for row in rows])
        self._refuse(not 1 <= len(rows) <= self.facts.decode_rows, f"{len(rows)} rows")
        lengths = [len(row.ids) for row in rows]
        self._refuse(not 1 <= min(lengths) <= max(lengths) <= self.facts.kept_logits, f"rows of {lengths}")
        self.widths.append(max(lengths))
        found = np.full((len(rows), max(lengths), VOCABULARY), np.nan, np.float32)
        for place, row in enumerate(rows):
            found[place, -len(row.ids) :] = self._write(row)
        return found

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        self._called("copy", [source, target], written=[target])
        held = self.slots[source]
        self.slots[target] = None if held is None else held[:length]
        self._reached[target] = self._reached[source]

    def read(self, slot: int) -> Arrays:
        return {"ids": np.array(self.slots[slot] or ())}

    def write(self, slot: int, state: Arrays) -> None:
        self.slots[slot] = [int(one) for one in state["ids"].tolist()]

    def clear(self, slot: int | None = None) -> None:
        for one in range(len(self.slots)) if slot is None else [slot]:
            self.slots[one] = []

    @property
    def bytes_held(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def _write(self, chunk: Chunk) -> NDArray[np.float32]:
        held = self.slots[chunk.slot]
        self._refuse(chunk.start + len(chunk.ids) > self.facts.room, "a position past the room")
        if held is None and chunk.start:
            return np.full((len(chunk.ids), VOCABULARY), np.nan, np.float32)
        held = held or []
        self._refuse(chunk.start > len(held), f"a hole before position {chunk.start}")
        back = self._reached[chunk.slot] - chunk.start if chunk.start else 0
        self._refuse(back >= self.facts.kept_logits and not self.facts.rewinds, f"a rewind by {back}")
        end = chunk.start + len(chunk.ids)
        self._reached[chunk.slot] = max(end, self._reached[chunk.slot]) if chunk.start else end
        out = []
        now = held[: chunk.start]
        for token in chunk.ids:
            now.append(token)
            out.append(hashed(now))
        self.slots[chunk.slot] = now
        return np.stack(out)

    def _called(self, name: str, slots: Sequence[int], written: Sequence[int] | None = None) -> None:
        call = len(self.log)
        self.log.append((name, tuple(slots)))
        self._refuse(len(set(slots)) < len(slots), "a slot named twice")
        self._refuse(not set(slots) <= set(range(len(self.slots))), "no such slot")
        failure = self.failures.get(call)
        if failure is None:
            return
        for slot in range(len(self.slots)) if failure != "interrupt" else (written or slots):
            self.slots[slot] = [self._junk.randrange(VOCABULARY) for _ in range(self.facts.room)]
            self._reached[slot] = self.facts.room
        raise {"device": DeviceError("Injected."), "interrupt": KeyboardInterrupt(), "other": OSError("Injected.")}[
            failure
        ]

    def _refuse(self, wrong: bool, what: str) -> None:
        if wrong:
            self.faults.append(f"{what} in call {len(self.log) - 1}: {self.log[-1]}")
            raise AssertionError(self.faults[-1])


@dataclass
class Pick:
    """The likeliest token, until one of ``ends`` or ``most`` tokens."""

    ends: frozenset[int] = frozenset()
    most: int | None = None
    rows: int = 1
    history: list[NextTokens] = field(default_factory=list)

    def advance(self, logits: NDArray[np.float32]) -> NextTokens:
        assert len(logits) == 1
        token = int(logits[0].argmax())
        done: Reason | None = "stop" if token in self.ends else None
        if done is None and len(self.history) + 1 == self.most:
            done = "length"
        self.history.append(NextTokens((0,), (token,), done))
        return self.history[-1]

    def answers(self, reason: Reason | None = None) -> tuple[Answer, ...]:
        done = reason or self.history[-1].done
        assert done is not None
        return (Answer(tuple(step.tokens[0] for step in self.history), done),)


@dataclass
class Fan:
    """Beams in small: the best continuations of all rows, of which there are now more, now fewer."""

    rows: int = 3
    most: int | None = None
    history: list[NextTokens] = field(default_factory=list)
    beams: list[tuple[float, tuple[int, ...]]] = field(default_factory=lambda: [(0.0, ())])

    def advance(self, logits: NDArray[np.float32]) -> NextTokens:
        assert len(logits) == len(self.beams)
        scores = logits + np.array([[score] for score, _ in self.beams], np.float32)
        size = 1 + (len(self.history) * 5 + 3) % self.rows
        best = np.argsort(-scores, axis=None, kind="stable")[:size].tolist()
        picked = [divmod(one, logits.shape[1]) for one in best]
        self.beams = [(float(scores[row, token]), (*self.beams[row][1], token)) for row, token in picked]
        done: Reason | None = "length" if len(self.history) + 1 == self.most else None
        tokens = NextTokens(tuple(row for row, _ in picked), tuple(token for _, token in picked), done)
        self.history.append(tokens)
        return tokens

    def answers(self, reason: Reason | None = None) -> tuple[Answer, ...]:
        done = reason or self.history[-1].done
        assert done is not None
        return tuple(Answer(ids, done, score=score) for score, ids in self.beams)
