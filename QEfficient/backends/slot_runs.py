"""Runs of a graph whose caches are those of its rows: a call that names slots becomes runs over slots side by side.

Attention in one operator (``onnx_transforms.cached_attention``) knows no slots: a cache that it reads has the rows of
the run along its first axis. So a run is given a view of the caches, from one slot to another. A slot in between that
no row names is a row without tokens; its cache stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.records import BATCH_INDEX, POSITION_IDS

HOLES = 3
"""Slots in between that are taken along. Each costs a row; another run reads all weights once more, as much as five."""

_ONE = np.zeros(1, np.intp)
Inputs = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of a row at consecutive positions.

    Attributes:
        row: Of the call.
        slot: Where they are written.
        start: Position of the first.
        columns: Where they stand in the row, in the order of their positions.
    """

    row: int
    slot: int
    start: int
    columns: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class SlotRun:
    """One run: of the slots from ``first`` on, so many as there are ``rows``, with at most ``width`` tokens each."""

    first: int
    rows: int
    width: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class RowSlots:
    """The slots that calls name, and how their runs may look.

    Attributes:
        count: How many there are; where calls name them, the last one is scratch.
        length: Positions of each.
        tokens: Inputs that have a number for each token, the positions with them.
        whole: Every run has all slots, since other caches are read by the number of the row.
        fixed: A run has as many rows and tokens as its call, so that its neighbours change no rounding of sums.
    """

    count: int
    length: int
    tokens: tuple[str, ...]
    whole: bool
    fixed: bool

    def runs(self, arrays: Inputs) -> list[SlotRun]:
        """Runs that do what one of a graph with slots would, in order.

        Tokens without a slot, or at no position of it, are left out. Where several rows name a slot, or a row's
        positions are not consecutive, tokens are run in the order of their positions.
        """
        shape = arrays[POSITION_IDS].shape
        runs = [run for pieces in self.rounds(arrays) for run in self._side_by_side(pieces, shape)]
        return runs or [SlotRun(0, self.count if self.whole else 1, 1, ())]

    def rounds(self, arrays: Inputs) -> Iterator[list[Piece]]:
        """The same in parts, which are run one after the other: pieces of different slots, by their slots."""
        queues: dict[int, list[Piece]] = {}
        for piece in self._pieces(arrays):
            queues.setdefault(piece.slot, []).append(piece)
        for queue in queues.values():
            queue.sort(key=lambda piece: -piece.start)
        while queues:
            yield [queues[slot].pop() for slot in sorted(queues)]
            queues = {slot: queue for slot, queue in queues.items() if queue}

    def inputs(self, run: SlotRun, arrays: Inputs) -> Arrays:
        """What a run of a call with these arrays is given: a row's tokens stand at its start, −1 behind them."""
        found = dict(arrays)
        for name in self.tokens:
            found[name] = np.full((run.rows, run.width), -1 if name == POSITION_IDS else 0, arrays[name].dtype)
        if BATCH_INDEX in arrays:
            found[BATCH_INDEX] = np.full((run.rows, 1), -1, arrays[BATCH_INDEX].dtype)
        for piece in run.pieces:
            place = piece.slot - run.first
            for name in self.tokens:
                found[name][place, : len(piece.columns)] = arrays[name][piece.row, piece.columns]
            if BATCH_INDEX in arrays:
                found[BATCH_INDEX][place] = piece.slot
        return found

    def results(self, runs: Sequence[tuple[SlotRun, Arrays]], rows: int) -> Arrays:
        """A call's results out of those of its runs.

        Args:
            runs: Each with what it gave: arrays ``(rows of the run, last tokens of each, …)``.
            rows: Of the call.

        Returns:
            Arrays ``(rows, last tokens of each, …)``. A row without tokens has zeros.
        """
        pieces = [(piece, piece.slot - run.first, found) for run, found in runs for piece in run.pieces]
        if len(runs) == 1 and len({piece.row for piece, *_ in pieces}) == len(pieces) == rows:
            places = [place for _, place, _ in sorted(pieces, key=lambda one: one[0].row)]
            whole = places == list(range(runs[0][0].rows))
            return {name: array if whole else array[places] for name, array in runs[0][1].items()}
        found = {name: np.zeros((rows, *array.shape[1:]), array.dtype) for name, array in runs[0][1].items()}
        for name, result in found.items():
            kept = result.shape[1]
            fill(result, [(one.row, all_[name][at, max(0, kept - len(one.columns)) :]) for one, at, all_ in pieces])
        return found

    def _pieces(self, arrays: Inputs) -> Iterator[Piece]:
        positions, longest = arrays[POSITION_IDS], self.length - self.whole
        named = BATCH_INDEX in arrays
        slots = arrays[BATCH_INDEX][:, 0].tolist() if named else range(len(positions))
        for row, slot in enumerate(slots):
            if not 0 <= slot < self.count - named:
                continue
            if positions.shape[1] == 1:  # a token, as in most calls
                if 0 <= (start := int(positions[row, 0])) < self.length:
                    yield Piece(row, slot, start, _ONE)
                continue
            columns = np.flatnonzero((positions[row] >= 0) & (positions[row] < self.length))
            columns = columns[np.argsort(positions[row, columns], kind="stable")]
            cuts = np.flatnonzero(np.diff(positions[row, columns]) != 1) + 1
            for part in np.split(columns, cuts) if len(cuts) else [columns]:
                for first in range(0, len(part), longest):
                    yield Piece(row, slot, int(positions[row, part[first]]), part[first : first + longest])

    def _side_by_side(self, pieces: Sequence[Piece], shape: tuple[int, ...]) -> Iterator[SlotRun]:
        """Runs of pieces of different slots, in their order.

        The operator wants room for all of a run's width behind what a cache holds, were it padding only. Who has none
        is run alone, as wide as it is.
        """
        width = shape[1] if self.fixed else max(len(piece.columns) for piece in pieces)
        waiting = []
        for piece in pieces:
            if max(piece.start, 1) + width <= self.length:
                waiting.append(piece)
                continue
            first, rows = (0, self.count) if self.whole else (piece.slot, 1)
            yield SlotRun(first, rows, len(piece.columns), (piece,))
        while waiting:
            first, rows = self._window([piece.slot for piece in waiting], shape[0])
            inside = [piece for piece in waiting if piece.slot < first + rows]
            yield SlotRun(first, rows, width, tuple(inside))
            waiting = waiting[len(inside) :]

    def _window(self, slots: Sequence[int], rows: int) -> tuple[int, int]:
        """The first slots of some in order that are run together: where they begin, and how many there are."""
        if self.whole:
            return 0, self.count
        if self.fixed:
            rows = min(rows, self.count)
            return min(slots[0], self.count - rows), rows
        last = slots[0]
        for slot in slots[1:]:
            if slot - last > HOLES + 1:
                break
            last = slot
        return slots[0], last + 1 - slots[0]


def fill(result: NDArray[np.generic], found: Iterable[tuple[int, NDArray[np.generic]]]) -> None:
    """Puts the results of each row's last tokens into its place.

    Args:
        result: ``(rows, last tokens of each, …)``. Where a row has fewer, its first one's stand before them.
        found: Row → results of its tokens, in the order of these; a row may come several times.
    """
    kept, parts = result.shape[1], dict[int, list[NDArray[np.generic]]]()
    for row, last in found:
        parts.setdefault(row, []).append(last)
    for row, ones in parts.items():
        last = np.concatenate(ones)[-kept:]
        result[row, kept - len(last) :], result[row, : kept - len(last)] = last, last[0]
