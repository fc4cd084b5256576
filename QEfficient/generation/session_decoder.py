"""A decoder over any session that keeps state: prompts and tokens become its inputs, of the shapes that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays, Closing, OfOneProcess, Retaining, Session
from QEfficient.errors import UsageError
from QEfficient.generation.chunk_checks import check_decode, check_length, check_prefill, check_slot
from QEfficient.generation.decoder import Chunk
from QEfficient.records import (
    BATCH_INDEX,
    INPUT_IDS,
    NUM_LOGITS_TO_KEEP,
    POSITION_IDS,
    SOURCE,
    SOURCE_DIM,
    DecoderFacts,
    Shape,
)

LEAST_SOURCE = 2
"""Least width of an encoder's input where there is a source: by its width a device tells a source from none."""

Floats = NDArray[np.float32]


class SessionDecoder(OfOneProcess, Closing):
    """A :class:`QEfficient.generation.decoder.Decoder` over a session that keeps state.

    Where there is an encoder, it reads a source in the run of a sequence's first chunk. A run without one has one −1 a
    row in its place.

    With free shapes each run is as large as what is run. Where shapes are fixed, a prompt's chunk is filled up to
    ``prefill_len`` with id 0 at position −1, which changes nothing, and a decode up to ``decode_rows`` with idle rows:
    id 0, position −1, slot −1. Addressed by slots, chunks run one after the other; without, row n of a run is slot n,
    all chunks share one run, and every slot that is not named idles in it.

    After a :class:`QEfficient.errors.DeviceError` the state of every slot is lost, also in a prefill of several chunks
    of which some were done. Nothing here remembers it: the owner prefills again, or fails what was there.

    Args:
        session: Open, and this one's own from now on: :meth:`close` closes it.
        facts: ``Manifest.decoder`` of its program.

    Raises:
        UsageError: The session keeps no state, or was not compiled for what ``facts`` says.
    """

    def __init__(self, session: Session, facts: DecoderFacts) -> None:
        if not isinstance(session, Retaining):
            raise UsageError(
                "The session keeps no state, so no text can be written with it.",
                got=type(session).__name__,
                allowed="a session of a program whose graph has inputs X with outputs X_RetainedState",
                do="compile a decoder: QEFFAutoModelForCausalLM",
            )
        self.facts = facts
        self._session, self._state = session, session
        self._dtypes = {spec.name: spec.dtype for spec in session.inputs}
        self._rows = facts.decode_rows if facts.continuous else facts.cache_slots
        if session.fixed_shapes:
            sourced = facts.has_encoder
            self._fixed_shape(self._prefill_rows(sourced), facts.prefill_len, sourced)
            self._fixed_shape(self._rows, 1)

    def _prefill_rows(self, sourced: bool) -> int:
        """Rows of a run that reads prompts. Where only the entry that decodes was compiled, it reads them too."""
        decodes = self._session.fixed_shapes and self.facts.prefill_len == 1 and not sourced
        return self._rows if decodes or not self.facts.continuous else 1

    def prefill(self, chunks: Sequence[Chunk]) -> Floats:
        """Writes chunks of prompts into slots.

        Args:
            chunks: Of different slots, each of 1 to ``prefill_len`` ids, at positions below ``facts.room``. Where there
                is an encoder, one that starts at 0 has a source of 1 to ``facts.source_room`` ids.

        Returns:
            The logits behind each chunk's last token, ``(chunks, vocabulary)``.

        Raises:
            UsageError: A slot, an id's position or a length does not fit; nothing was run.
            DeviceError: The device failed; all slots are lost.
        """
        check_prefill(chunks, self.facts)
        runs = [[chunk] for chunk in chunks] if self.facts.continuous else [chunks]
        return np.concatenate([self._prefill(run) for run in runs])

    def _prefill(self, chunks: Sequence[Chunk]) -> Floats:
        """One run."""
        longest = max(len(chunk.source) for chunk in chunks)
        rows, width, kept = self._prefill_rows(longest > 0), max(len(chunk.ids) for chunk in chunks), 1
        read = max(longest, LEAST_SOURCE) if longest else 1
        if self._session.fixed_shapes:
            shape = self._fixed_shape(rows, self.facts.prefill_len, longest > 0)
            width, kept, read = shape.length, shape.sizes.get(NUM_LOGITS_TO_KEEP, 1), shape.sizes.get(SOURCE_DIM, 1)
        return self._run(chunks, (rows, width), kept, read)[:, -1]

    def decode(self, rows: Sequence[Chunk]) -> Floats:
        """One step of several sequences.

        Args:
            rows: At most ``decode_rows``, in any order, of different slots, each of 1 to ``kept_logits`` ids.

        Returns:
            The logits behind every token, ``(rows, tokens, vocabulary)``: those of a shorter row are its last ones, and
            what stands before them means nothing.

        Raises:
            UsageError: As :meth:`prefill`, or there are too many rows.
            DeviceError: The device failed; all slots are lost.
        """
        tokens = check_decode(rows, self.facts)
        height, width, kept = len(rows) if self.facts.continuous else self._rows, tokens, tokens
        if self._session.fixed_shapes:
            shape = self._fixed_shape(self._rows, tokens)
            height, width, kept = self._rows, shape.length, shape.sizes.get(NUM_LOGITS_TO_KEEP, 1)
        return self._run(rows, (height, width), kept)[:, -tokens:]

    def _fixed_shape(self, rows: int, tokens: int, sourced: bool = False) -> Shape:
        """The compiled shape of so many rows that wastes the least on so many tokens each.

        Args:
            rows: Of the run.
            tokens: Of each.
            sourced: Whether the encoder is to read.
        """
        fitting = [
            shape
            for shape in self._session.shapes
            if shape.batch == rows and shape.length >= tokens and (shape.sizes.get(SOURCE_DIM, 1) > 1) == sourced
        ]
        if not fitting:
            raise UsageError(
                "The program was compiled for other shapes than its decoder facts say.",
                got=f"{rows} rows of {tokens} tokens",
                allowed=" or ".join(map(str, self._session.shapes)),
                do="compile the model again",
            )
        return min(fitting)

    def _run(self, chunks: Sequence[Chunk], shape: tuple[int, int], kept: int, read: int = 1) -> Floats:
        """The logits of each chunk's row, ``(chunks, kept, vocabulary)``.

        Args:
            chunks: What to run.
            shape: Rows, and tokens of each.
            kept: Last tokens of each that there are logits of.
            read: Width of the encoder's input.
        """
        places = range(len(chunks)) if self.facts.continuous else [chunk.slot for chunk in chunks]
        ids, positions = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
        slots = np.full((shape[0], 1), -1, np.int64)
        for place, chunk in zip(places, chunks, strict=True):
            length = len(chunk.ids)
            ids[place, :length] = chunk.ids
            positions[place, :length] = np.arange(chunk.start, chunk.start + length)
            slots[place] = chunk.slot
        arrays = {INPUT_IDS: ids, POSITION_IDS: positions}
        if self.facts.continuous:
            arrays[BATCH_INDEX] = slots
        if self.facts.has_encoder:
            arrays[SOURCE] = np.full((shape[0], read), -1, np.int64)
            for place, chunk in zip(places, chunks, strict=True):
                arrays[SOURCE][place, : len(chunk.source)] = chunk.source
        if self.facts.kept_logits > 1:
            arrays[NUM_LOGITS_TO_KEEP] = np.zeros((kept, 1), np.int64)
        results = self._session.run({name: array.astype(self._dtypes[name]) for name, array in arrays.items()})
        return results["logits"][list(places)].astype(np.float32, copy=False)

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        """Makes slot ``target`` hold what ``source`` does.

        Args:
            source: Which.
            target: Which other.
            length: Its first positions that count: no others need be copied. ``None``: all.

        Raises:
            UsageError: There is no such slot, or it has not so many positions.
        """
        check_slot(source, self.facts)
        check_slot(target, self.facts)
        check_length(length, self.facts)
        self._state.copy(source, target, length)

    def read(self, slot: int) -> Arrays:
        """What a slot holds: name of a state input → array without the slots' axis, in the state's own dtype.

        Raises:
            UsageError: There is no such slot.
        """
        check_slot(slot, self.facts)
        return self._state.read(slot)

    def write(self, slot: int, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Puts back what :meth:`read` gave, here or in another session of the same program.

        Raises:
            UsageError: There is no such slot, or ``state`` does not fit.
        """
        check_slot(slot, self.facts)
        self._state.write(slot, state)

    def clear(self, slot: int | None = None) -> None:
        """Zeroes a slot, or all.

        Raises:
            UsageError: There is no such slot.
        """
        if slot is not None:
            check_slot(slot, self.facts)
        self._state.clear(slot)

    @property
    def bytes_held(self) -> int:
        """Bytes of all caches, the scratch slot's with them."""
        return self._state.bytes_held

    def close(self) -> None:
        """Closes the session; a second call does nothing."""
        self._session.close()
