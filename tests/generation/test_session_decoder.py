"""What a session is given for prompts and tokens, and what is refused before it is given anything.

That the logits are right is held by ``tests/backends/state_conformance.py``, over every backend's sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays, Closing
from QEfficient.errors import UsageError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.records import DecoderFacts, Json, Shape, TensorSpec

VOCABULARY = 11
FACTS = DecoderFacts(ctx_len=16, cache_slots=4, decode_rows=3, prefill_len=5)
PLAIN = DecoderFacts(ctx_len=16, cache_slots=4, decode_rows=4, prefill_len=5, continuous=False)
KEPT = replace(FACTS, kept_logits=3)


class Recording(Closing):
    """A session that keeps state in name only. Its logits say where they stand: row, column."""

    def __init__(self, facts: DecoderFacts, *, fixed: bool, int32: bool = False) -> None:
        names = ["input_ids", "position_ids"]
        names += ["batch_index"] if facts.continuous else []
        names += ["num_logits_to_keep"] if facts.kept_logits > 1 else []
        dtype = "int32" if int32 else "int64"
        self.inputs = tuple(TensorSpec(name, dtype, ("batch_size", "seq_len")) for name in names)
        self.outputs = (TensorSpec("logits", "float16", ("batch_size", 1, VOCABULARY)),)
        self.states = (TensorSpec("past_key.0", "float32", (facts.cache_slots + facts.continuous, 2)),)
        kept = {"num_logits_to_keep": facts.kept_logits} if facts.kept_logits > 1 else {}
        rows = 1 if facts.continuous else facts.cache_slots
        self.shapes = (Shape(facts.kept_logits, facts.decode_rows, kept), Shape(facts.prefill_len, rows, kept))
        self.fixed_shapes, self.slots, self.bytes_held = fixed, 1, 40
        self.given: list[Arrays] = []
        self.calls: list[Any] = []

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
        self.given.append(dict(arrays))
        rows = len(arrays["input_ids"])
        kept = len(arrays.get("num_logits_to_keep", [0]))
        numbers = np.arange(rows)[:, None] * 10 + np.arange(kept)
        return {"logits": np.repeat(numbers[..., None], VOCABULARY, -1).astype(np.float16)}

    def submit(self, arrays: Mapping[str, NDArray[Any]]) -> Future[Arrays]:
        raise NotImplementedError

    def read(self, slot: int) -> Arrays:
        return {"past_key.0": np.full(2, slot, np.float32)}

    def write(self, slot: int, state: Mapping[str, NDArray[Any]]) -> None:
        self.calls.append(("write", slot, state))

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        self.calls.append(("copy", source, target, length))

    def clear(self, slot: int | None = None) -> None:
        self.calls.append(("clear", slot))

    def report(self) -> dict[str, Json]:
        return {}

    def close(self) -> None:
        self.calls.append("close")


def given(session: Recording) -> list[dict[str, list[Any]]]:
    return [{name: array.tolist() for name, array in arrays.items()} for arrays in session.given]


def test_free_chunks_have_their_true_length() -> None:
    session = Recording(FACTS, fixed=False)
    logits = SessionDecoder(session, FACTS).prefill([Chunk(2, [5, 6, 7], 4), Chunk(0, (9,), 0)])
    assert given(session) == [
        {"input_ids": [[5, 6, 7]], "position_ids": [[4, 5, 6]], "batch_index": [[2]]},
        {"input_ids": [[9]], "position_ids": [[0]], "batch_index": [[0]]},
    ]
    assert logits.shape == (2, VOCABULARY) and logits.dtype == np.float32


def test_fixed_chunks_are_filled_up_on_the_right() -> None:
    session = Recording(FACTS, fixed=True)
    SessionDecoder(session, FACTS).prefill([Chunk(2, [5, 6, 7], 4)])
    assert given(session) == [
        {"input_ids": [[5, 6, 7, 0, 0]], "position_ids": [[4, 5, 6, -1, -1]], "batch_index": [[2]]}
    ]


@pytest.mark.parametrize("fixed", [False, True])
def test_a_decode_has_its_rows_or_idle_ones(fixed: bool) -> None:
    session = Recording(FACTS, fixed=fixed)
    logits = SessionDecoder(session, FACTS).decode([Chunk(3, [5], 7), Chunk(1, [6], 2)])
    idle: list[Any] = [[0]] if fixed else []
    none: list[Any] = [[-1]] if fixed else []
    assert given(session) == [
        {"input_ids": [[5], [6], *idle], "position_ids": [[7], [2], *none], "batch_index": [[3], [1], *none]}
    ]
    assert logits[..., 0].tolist() == [[0], [10]]


@pytest.mark.parametrize("fixed", [False, True])
def test_without_slots_row_n_is_slot_n(fixed: bool) -> None:
    session = Recording(PLAIN, fixed=fixed)
    decoder = SessionDecoder(session, PLAIN)
    first = decoder.prefill([Chunk(3, [5, 6], 0), Chunk(1, [7], 4)])
    second = decoder.decode([Chunk(2, [8], 9)])
    width = [0] * 3 if fixed else []
    none = [-1] * 3 if fixed else []
    idle, nowhere = [0, 0, *width], [-1, -1, *none]
    assert given(session) == [
        {
            "input_ids": [idle, [7, 0, *width], idle, [5, 6, *width]],
            "position_ids": [nowhere, [4, -1, *none], nowhere, [0, 1, *none]],
        },
        {"input_ids": [[0], [0], [8], [0]], "position_ids": [[-1], [-1], [9], [-1]]},
    ]
    assert first[:, 0].tolist() == [30, 10] and second[..., 0].tolist() == [[20]]


def test_free_logits_are_asked_for_as_needed() -> None:
    session = Recording(KEPT, fixed=False)
    decoder = SessionDecoder(session, KEPT)
    decoder.prefill([Chunk(0, [1, 2, 3, 4], 0)])
    found = decoder.decode([Chunk(0, [5, 6], 4), Chunk(2, [7, 8], 0)])
    assert [len(arrays["num_logits_to_keep"]) for arrays in session.given] == [1, 2]
    assert found[..., 0].tolist() == [[0, 1], [10, 11]]


def test_fixed_logits_are_the_last_of_what_is_compiled() -> None:
    session = Recording(KEPT, fixed=True)
    decoder = SessionDecoder(session, KEPT)
    assert decoder.prefill([Chunk(0, [1, 2, 3, 4], 0)])[:, 0].tolist() == [2]
    found = decoder.decode([Chunk(1, [5, 6], 4), Chunk(2, [7, 8], 0)])
    assert session.given[1]["position_ids"].tolist() == [[4, 5, -1], [0, 1, -1], [-1, -1, -1]]
    assert [len(arrays["num_logits_to_keep"]) for arrays in session.given] == [3, 3]
    assert found[..., 0].tolist() == [[1, 2], [11, 12]]


@pytest.mark.parametrize("fixed", [False, True])
def test_rows_of_unequal_lengths_have_their_logits_last(fixed: bool) -> None:
    session = Recording(KEPT, fixed=fixed)
    found = SessionDecoder(session, KEPT).decode([Chunk(1, [5, 6], 4), Chunk(2, [7], 0)])
    idle = [[-1, -1, -1]] if fixed else []
    filled = [-1] if fixed else []
    assert session.given[0]["position_ids"].tolist() == [[4, 5, *filled], [0, -1, *filled], *idle]
    assert found[..., 0].tolist() == ([[1, 2], [11, 12]] if fixed else [[0, 1], [10, 11]])


def test_arrays_have_the_dtype_of_the_inputs() -> None:
    session = Recording(KEPT, fixed=True, int32=True)
    SessionDecoder(session, KEPT).decode([Chunk(1, np.array([5]), 4)])
    assert {array.dtype.name for array in session.given[0].values()} == {"int32"}


@pytest.mark.parametrize(
    ("chunks", "facts", "named"),
    [
        ([], FACTS, "1 to 4"),
        ([Chunk(4, [1], 0)], FACTS, "(?s)4.*0 to 3"),
        ([Chunk(-1, [1], 0)], FACTS, "(?s)-1.*0 to 3"),
        ([Chunk(0, [1], 0), Chunk(1, [1], 0), Chunk(0, [1], 1)], FACTS, "twice"),
        ([Chunk(0, [], 0)], FACTS, "(?s)0.*1 to 5"),
        ([Chunk(0, [1] * 6, 0)], FACTS, "(?s)6.*1 to 5"),
        ([Chunk(0, [1], -1)], FACTS, "(?s)-1.*0 to 15"),
        ([Chunk(0, [1] * 3, 14)], FACTS, "(?s)16.*0 to 15"),
        ([Chunk(0, [1] * 2, 14)], PLAIN, "(?s)15.*0 to 14"),
    ],
)
def test_a_prefill_that_does_not_fit_runs_nothing(chunks: list[Chunk], facts: DecoderFacts, named: str) -> None:
    session = Recording(facts, fixed=False)
    with pytest.raises(UsageError, match=named):
        SessionDecoder(session, facts).prefill(chunks)
    assert not session.given


@pytest.mark.parametrize(
    ("rows", "facts", "named"),
    [
        ([], FACTS, "1 to 3"),
        ([Chunk(slot, [1], 0) for slot in range(4)], FACTS, "(?s)4.*1 to 3"),
        ([Chunk(0, [1, 2], 0)], FACTS, "(?s)2.*1 to 1"),
        ([Chunk(0, [1] * 4, 0)], KEPT, "(?s)4.*1 to 3"),
        ([Chunk(0, [1, 2], 0), Chunk(1, [1] * 4, 0)], KEPT, "(?s)2, 4.*1 to 3"),
        ([Chunk(0, [], 0)], KEPT, "(?s)0.*1 to 3"),
        ([Chunk(1, [1], 0), Chunk(1, [2], 1)], FACTS, "twice"),
        ([Chunk(1, [1], 16)], FACTS, "(?s)16.*0 to 15"),
        ([Chunk(1, [1], 15)], PLAIN, "(?s)15.*0 to 14"),
        ([Chunk(7, [1], 0)], FACTS, "(?s)7.*0 to 3"),
    ],
)
def test_a_decode_that_does_not_fit_runs_nothing(rows: list[Chunk], facts: DecoderFacts, named: str) -> None:
    session = Recording(facts, fixed=False)
    with pytest.raises(UsageError, match=named):
        SessionDecoder(session, facts).decode(rows)
    assert not session.given


@pytest.mark.parametrize("slot", [-1, 4])
def test_the_scratch_slot_is_nobodys(slot: int) -> None:
    session = Recording(FACTS, fixed=True)
    decoder = SessionDecoder(session, FACTS)
    calls = (
        lambda: decoder.read(slot),
        lambda: decoder.write(slot, {}),
        lambda: decoder.copy(slot, 0),
        lambda: decoder.copy(0, slot),
        lambda: decoder.clear(slot),
    )
    for call in calls:
        with pytest.raises(UsageError, match="0 to 3"):
            call()
    assert not session.calls


@pytest.mark.parametrize("length", [-1, 17])
def test_no_more_is_copied_than_a_slot_has(length: int) -> None:
    session = Recording(FACTS, fixed=True)
    with pytest.raises(UsageError, match=f"(?s){length}.*0 to 16"):
        SessionDecoder(session, FACTS).copy(0, 1, length)
    assert not session.calls


def test_slots_are_the_sessions() -> None:
    session = Recording(FACTS, fixed=True)
    with SessionDecoder(session, FACTS) as decoder:
        assert decoder.read(3)["past_key.0"].tolist() == [3, 3]
        decoder.copy(0, 3)
        decoder.copy(1, 2, 7)
        decoder.write(1, {"a": np.zeros(1)})
        decoder.clear()
        decoder.clear(2)
        assert decoder.bytes_held == 40
    assert session.calls[:2] == [("copy", 0, 3, None), ("copy", 1, 2, 7)]
    assert [call[0] if isinstance(call, tuple) else call for call in session.calls[1:]] == [
        "copy",
        "write",
        "clear",
        "clear",
        "close",
    ]


def test_a_session_without_state_is_refused() -> None:
    class Stateless:
        inputs = outputs = shapes = ()
        fixed_shapes = False

    with pytest.raises(UsageError, match="keeps no state"):
        SessionDecoder(Stateless(), FACTS)  # type: ignore[arg-type]


def test_facts_of_another_program_are_refused() -> None:
    with pytest.raises(UsageError, match="1 rows of 9 tokens"):
        SessionDecoder(Recording(FACTS, fixed=True), replace(FACTS, prefill_len=9))
