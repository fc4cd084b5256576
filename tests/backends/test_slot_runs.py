"""A call that names slots, as runs over slots side by side: what is run, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from QEfficient.backends import paged
from QEfficient.backends.slot_runs import HOLES, RowSlots, SlotRun, fill
from QEfficient.records import BATCH_INDEX, POSITION_IDS

IDS, KEPT = "input_ids", "num_logits_to_keep"
SOME = RowSlots(count=9, length=32, tokens=(IDS, POSITION_IDS), whole=False, fixed=False)
NOTHING = -9


class Machine:
    """What runs do to slots: each holds the ids that were written, and a token's result is all ids up to its own.

    It insists on what the operator insists on.
    """

    def __init__(self, slots: RowSlots) -> None:
        self.slots, self.held = slots, np.full((slots.count, slots.length), NOTHING)
        self._numbers: dict[bytes, int] = {}

    def number(self, ids: NDArray[np.generic]) -> int:
        """One of its own for each sequence of ids, from 1 on."""
        return self._numbers.setdefault(ids.tobytes(), len(self._numbers) + 1)

    def run(self, run: SlotRun, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
        positions, ids = arrays[POSITION_IDS], arrays[IDS]
        assert positions.shape == ids.shape == (run.rows, run.width)
        assert 0 <= run.first and run.first + run.rows <= self.slots.count
        assert not self.slots.whole or (run.first, run.rows) == (0, self.slots.count)
        kept = len(arrays[KEPT]) if KEPT in arrays else 1
        found = np.zeros((run.rows, kept), np.int64)
        for row in range(run.rows):
            tokens = int((positions[row] >= 0).sum())
            start = int(positions[row, 0]) if tokens else 1
            assert positions[row].tolist() == [*range(start, start + tokens), *[-1] * (run.width - tokens)][: run.width]
            assert start + run.width <= self.slots.length
            if BATCH_INDEX in arrays:
                assert arrays[BATCH_INDEX][row, 0] == (run.first + row if tokens else -1)
            held = self.held[run.first + row]
            held[start : start + tokens] = ids[row, :tokens]
            for place in range(kept):
                column = max(0, max(tokens, 1) - kept + place)
                found[row, place] = self.number(held[: start + column + 1])
        return found

    def call(self, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
        runs = [(run, {"logits": self.run(run, self.slots.inputs(run, arrays))}) for run in self.slots.runs(arrays)]
        return self.slots.results(runs, len(arrays[POSITION_IDS]))["logits"]


class PagedMachine(Machine):
    """The same with slots in blocks of 5 positions and all tokens in one sequence (``backends.paged``)."""

    def call(self, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
        kept = len(arrays[KEPT]) if KEPT in arrays else 1
        found, parts = np.zeros((len(arrays[POSITION_IDS]), kept), np.int64), list[tuple[int, NDArray[np.generic]]]()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(paged, "BLOCK", 5)
            each = paged.blocks_of(self.slots.length)
            self.blocks = np.full((self.slots.count * each, 5), NOTHING)
            for pieces in self.slots.rounds(arrays):
                run = paged.paged_run(pieces, arrays, kept, each)
                results = np.array([self.token(run.arrays, int(row)) for row in run.arrays[paged.LOGIT_ROWS]])
                parts += zip(run.rows, np.split(results, np.cumsum(run.counts)[:-1]), strict=True)
        fill(found, parts)
        self.held = self.blocks.reshape(self.slots.count, -1)[:, : self.slots.length]
        return found

    def token(self, arrays: Mapping[str, NDArray[np.generic]], asked: int) -> int:
        """Writes what the operator writes, each time anew, and reads what it reads for one token."""
        begins, blocks = arrays["subsequence_begins"].tolist(), arrays["block_indices_begins"].tolist()
        assert begins[-1] == len(arrays[IDS]) == len(arrays[POSITION_IDS]) and blocks[-1] == len(
            arrays["block_indices"]
        )
        number = 0
        for row, past in enumerate(arrays["past_lens"].tolist()):
            tokens, own = slice(*begins[row : row + 2]), arrays["block_indices"][slice(*blocks[row : row + 2])]
            ids = arrays[IDS][tokens, 0]
            end = past + len(ids)
            assert arrays[POSITION_IDS][tokens, 0].tolist() == list(range(past, end))
            assert (len(own) - 1) * 5 < end <= len(own) * 5 and end <= arrays["max_context_len"]
            for at, one in enumerate(ids.tolist(), past):
                self.blocks[own[at // 5], at % 5] = one
            if begins[row] <= asked < begins[row + 1]:
                number = self.number(self.blocks[own].ravel()[: past + asked - begins[row] + 1])
        return number


def call(rows: list[tuple[int, list[int]]], *, named: bool = True, kept: int = 0) -> dict[str, NDArray[np.generic]]:
    """Rows of a slot and positions; each id is new."""
    width = max(len(positions) for _, positions in rows)
    places = np.full((len(rows), width), -1)
    for row, (_, positions) in enumerate(rows):
        places[row, : len(positions)] = positions
    arrays: dict[str, NDArray[np.generic]] = {IDS: np.arange(1000, 1000 + places.size).reshape(places.shape)}
    arrays[POSITION_IDS] = places
    if named:
        arrays[BATCH_INDEX] = np.array([[slot] for slot, _ in rows])
    return arrays | ({KEPT: np.zeros((kept, 1), np.int64)} if kept else {})


positions = st.one_of(
    st.tuples(st.integers(-2, 33), st.integers(0, 9)).map(lambda pair: list(range(pair[0], pair[0] + pair[1]))),
    st.lists(st.integers(-2, 33), max_size=9, unique=True),
).filter(len)


@given(
    rows=st.lists(st.tuples(st.integers(-1, 10), positions), min_size=1, max_size=6),
    named=st.booleans(),
    whole=st.booleans(),
    fixed=st.booleans(),
    kept=st.sampled_from([0, 1, 3]),
    machines=st.sampled_from([Machine, PagedMachine]),
)
def test_runs_do_what_the_call_says(
    rows: list[tuple[int, list[int]]], named: bool, whole: bool, fixed: bool, kept: int, machines: type[Machine]
) -> None:
    """Rows of one slot have no position in common: which of two writes stays nobody says."""
    seen: set[tuple[int, int]] = set()
    for number, (slot, places) in enumerate(rows):
        places[:] = [at for at in places if (slot if named else number, at) not in seen] or [-1]
        seen |= {(slot if named else number, at) for at in places}
    count = SOME.count if named else len(rows)
    slots = replace(SOME, count=count, whole=whole and not named, fixed=fixed)
    arrays, machine = call(rows, named=named, kept=kept), machines(slots)
    found = machine.call(arrays)
    wanted = np.full(machine.held.shape, NOTHING)
    for row, (slot, places) in enumerate(rows):
        slot = slot if named else row
        for column, at in enumerate(places):
            if 0 <= at < slots.length and 0 <= slot < count - named:
                wanted[slot, at] = arrays[IDS][row, column]
    np.testing.assert_array_equal(machine.held, wanted)
    for row, (slot, places) in enumerate(rows):
        slot = slot if named else row
        there = sorted(at for at in places if 0 <= at < slots.length)
        if there and 0 <= slot < count - named:
            asked = there[-(kept or 1) :]
            asked = [asked[0]] * ((kept or 1) - len(asked)) + asked
            assert found[row].tolist() == [machine.number(wanted[slot, : at + 1]) for at in asked]


def shapes(rows: list[tuple[int, list[int]]], slots: RowSlots = SOME) -> list[tuple[int, int, int]]:
    return [(run.first, run.rows, run.width) for run in slots.runs(call(rows))]


def test_rows_of_slots_side_by_side_are_one_run_whatever_their_order() -> None:
    assert shapes([(3, [5]), (1, [9]), (2, [0])]) == [(1, 3, 1)]


def test_a_few_slots_in_between_are_taken_along() -> None:
    assert shapes([(0, [5]), (1 + HOLES, [9])]) == [(0, 2 + HOLES, 1)]
    assert shapes([(0, [5]), (2 + HOLES, [9])]) == [(0, 1, 1), (2 + HOLES, 1, 1)]


def test_a_call_of_rows_in_order_gives_what_its_run_gives() -> None:
    arrays = call([(2, [5]), (3, [6])])
    [run] = SOME.runs(arrays)
    given_back = np.zeros((2, 1, 4), np.float32)
    assert SOME.results([(run, {"logits": given_back})], 2)["logits"] is given_back


def test_where_shapes_are_fixed_a_run_is_as_large_as_its_call() -> None:
    fixed = replace(SOME, fixed=True)
    assert shapes([(0, [5]), (1, [9]), (-1, [-1])], fixed) == [(0, 3, 1)]
    assert shapes([(7, [5]), (-1, [-1]), (0, [2])], fixed) == [(0, 3, 1), (6, 3, 1)]
    assert shapes([(4, [0, 1, -1, -1])], fixed) == [(4, 1, 4)]


def test_who_has_no_room_for_the_padding_is_run_alone() -> None:
    fixed = replace(SOME, fixed=True)
    assert shapes([(4, [29, 30, -1, -1])], fixed) == [(4, 1, 2)]
    assert shapes([(1, [0, 1, 2, 3]), (2, [30])]) == [(2, 1, 1), (1, 1, 4)]


def test_a_call_without_tokens_is_a_run_without_tokens() -> None:
    assert shapes([(-1, [-1]), (3, [-1])]) == [(0, 1, 1)]
    machine = Machine(SOME)
    assert machine.call(call([(-1, [-1]), (3, [-1])])).tolist() == [[0], [0]]
    assert (machine.held == NOTHING).all()


@pytest.mark.parametrize("kept", [1, 2])
def test_a_row_without_tokens_has_zeros(kept: int) -> None:
    slots = SOME
    arrays = call([(2, [5, 6]), (9, [6])], kept=kept)
    runs = [(run, {"logits": np.ones((run.rows, kept, 3), np.float32)}) for run in slots.runs(arrays)]
    assert slots.results(runs, 2)["logits"][:, 0, 0].tolist() == [1, 0]
