"""What a decoder refuses before it runs anything."""

from __future__ import annotations

from collections.abc import Sequence

from QEfficient.errors import UsageError
from QEfficient.generation.decoder import Chunk
from QEfficient.records import DecoderFacts


def check_prefill(chunks: Sequence[Chunk], facts: DecoderFacts) -> None:
    """Refuses chunks of prompts that can't be run.

    Raises:
        UsageError: There is none, one has no ids or more than ``prefill_len``, or as :func:`_check_places`.
    """
    _check_count(len(chunks), facts.cache_slots, "chunks", "prefill fewer slots at once")
    for chunk in chunks:
        if not 1 <= len(chunk.ids) <= facts.prefill_len:
            raise UsageError(
                f"The chunk for slot {chunk.slot} has a wrong number of ids.",
                got=len(chunk.ids),
                allowed=f"1 to {facts.prefill_len}",
                do="cut the prompt into chunks of at most prefill_len",
            )
        _check_source(chunk, facts)
    _check_places(chunks, facts)


def _check_source(chunk: Chunk, facts: DecoderFacts) -> None:
    if len(chunk.source) > facts.source_room or (facts.encoder_ctx_len and not chunk.source and not chunk.start):
        raise UsageError(
            f"The chunk for slot {chunk.slot} has a wrong number of its source's ids.",
            got=f"{len(chunk.source)}, with a first token at position {chunk.start}",
            allowed=f"1 to {facts.source_room} where a sequence begins" if facts.encoder_ctx_len else "none",
            do="pass the source with the first chunk, and a shorter one, or compile with a larger encoder_ctx_len",
        )


def check_decode(rows: Sequence[Chunk], facts: DecoderFacts) -> int:
    """Refuses rows that can't be decoded together.

    Returns:
        How many tokens the longest row has.

    Raises:
        UsageError: There is none, or more than ``decode_rows``; a row has no ids, or more than ``kept_logits``; or as
            :func:`_check_places`.
    """
    _check_count(len(rows), facts.decode_rows, "rows", "decode fewer at once, or compile with a larger full_batch_size")
    lengths = [len(row.ids) for row in rows]
    if not 1 <= min(lengths) <= max(lengths) <= facts.kept_logits:
        raise UsageError(
            "The rows of a decode have wrong numbers of ids.",
            got=", ".join(map(str, lengths)),
            allowed=f"1 to {facts.kept_logits} each",
            do="run more tokens as prefill, or compile with a larger num_speculative_tokens",
        )
    _check_places(rows, facts)
    return max(lengths)


def check_slot(slot: int, facts: DecoderFacts) -> None:
    """Refuses a slot that is none; the graph's scratch slot is nobody's.

    Raises:
        UsageError: It is not in 0 to ``cache_slots`` − 1.
    """
    if not 0 <= slot < facts.cache_slots:
        raise UsageError(
            f"There is no slot {slot}.",
            got=slot,
            allowed=f"0 to {facts.cache_slots - 1}",
            do="choose one of these, or compile with a larger kv_cache_batch_size",
        )


def check_length(length: int | None, facts: DecoderFacts) -> None:
    """Refuses a number of positions that a slot does not have.

    Raises:
        UsageError: It is not in 0 to ``ctx_len``.
    """
    if length is not None and not 0 <= length <= facts.ctx_len:
        raise UsageError(
            "A slot does not have so many positions.",
            got=length,
            allowed=f"0 to {facts.ctx_len}, or None for all",
            do="pass how many tokens the slot holds",
        )


def _check_count(found: int, most: int, what: str, do: str) -> None:
    if not 1 <= found <= most:
        raise UsageError(f"A wrong number of {what} for one call.", got=found, allowed=f"1 to {most}", do=do)


def _check_places(chunks: Sequence[Chunk], facts: DecoderFacts) -> None:
    """Refuses a slot that is none or is named twice, and positions that a slot does not have."""
    seen = set[int]()
    for chunk in chunks:
        check_slot(chunk.slot, facts)
        if chunk.slot in seen:
            raise UsageError(
                f"Slot {chunk.slot} is named twice in one call.",
                got=", ".join(str(one.slot) for one in chunks),
                allowed="different slots: what a device does with one that is named twice is not known",
                do="make two calls",
            )
        seen.add(chunk.slot)
        last = chunk.start + len(chunk.ids) - 1
        if chunk.start < 0 or last >= facts.room:
            raise UsageError(
                f"Slot {chunk.slot} does not have these positions.",
                got=f"{chunk.start} to {last}",
                allowed=f"0 to {facts.room - 1}",
                do="end the sequence there, or compile with a larger ctx_len",
            )
