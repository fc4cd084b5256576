"""Lengths → batches. Pure functions: the same lengths give the same batches, whatever was called before."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from QEfficient.errors import InputError
from QEfficient.records import LENGTH_DIM, Shape

BATCH_TOKENS = 2048
"""Positions of one batch on the host, padding included.

Measured on two busy cores with a six-layer MiniLM and 600 short texts: 38 rows/s and 229 MB at 2048, 36 rows/s and
321 MB at 4096, 22 rows/s and 528 MB at 8192.
"""


BATCH_IMAGES = 8
"""Images of one batch on the host: about as many positions as a batch of text has, in patches of 16 × 16."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of a session.

    Attributes:
        rows: The caller's row numbers, in the order in which they stand in the batch.
        shape: The batch's size. With fixed shapes ``shape.batch`` may be more than there are rows.
    """

    rows: tuple[int, ...]
    shape: Shape


def choose_bucket(length: int, buckets: Sequence[Shape]) -> Shape:
    """The smallest bucket that holds ``length`` tokens; of equally long ones the one with fewest rows.

    Raises:
        InputError: None is long enough.
    """
    fitting = [bucket for bucket in buckets if bucket.length >= length]
    if not fitting:
        limit = max((bucket.length for bucket in buckets), default=0)
        raise InputError(
            "A row is longer than the largest compiled bucket.",
            got=f"{length} tokens",
            allowed=f"at most {limit} tokens",
            do=f"compile with seq_len=[…, {length}], or shorten the row to {limit} tokens",
        )
    return min(fitting)


def plan(
    lengths: Sequence[int],
    buckets: Sequence[Shape],
    *,
    fixed_shapes: bool,
    pads: bool = True,
    images: bool = False,
    batch_tokens: int = BATCH_TOKENS,
    streams: int = 1,
) -> tuple[Batch, ...]:
    """Packs rows into batches, longest first; every row stands in exactly one.

    With free shapes and several streams, batches are made smaller until their number is a multiple of the streams,
    all of about the same positions: then no stream is idle while another has a last batch to do. Two rows on two
    streams are two batches, which take less time than one on both CPUs. Fewer rows than streams are left as they are.

    Args:
        lengths: Tokens of each row.
        buckets: The compiled buckets.
        fixed_shapes: Every batch has exactly a bucket's shape. Otherwise a batch is as long as its longest row, and
            the buckets only limit the length.
        pads: False for a model whose numbers depend on padding: a batch then holds rows of one length, and with
            fixed shapes that is exactly a bucket's.
        images: Whether each row has an image, whose patches are more positions than a text has.
        batch_tokens: Without fixed shapes, the most positions (rows times longest row) of a batch of several rows.
        streams: Batches that the session runs at once.

    Raises:
        InputError: A row is longer than every bucket; or ``pads`` is false and no bucket has its length.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)  # stable: equal rows keep their order
    if fixed_shapes:
        if not pads:
            _check_exact(lengths, buckets)
        return _fixed(order, lengths, buckets)
    if buckets and LENGTH_DIM not in buckets[0].sizes:
        return _images(order, buckets[0], streams)
    most = BATCH_IMAGES if images else len(order)
    if pads:
        batch_tokens = _even(order, lengths, batch_tokens, most, streams)
    return _free(order, lengths, buckets, pads, batch_tokens, most)


def _check_exact(lengths: Sequence[int], buckets: Sequence[Shape]) -> None:
    compiled = {bucket.length for bucket in buckets}
    if other := sorted(set(lengths) - compiled):
        raise InputError(
            "This model's numbers depend on the padding beside a row, so a row must fill a compiled shape exactly.",
            got=f"lengths {', '.join(map(str, other[:8]))}",
            allowed=f"lengths {', '.join(map(str, sorted(compiled)))}",
            do=f"compile with seq_len=[…, {other[-1]}], or run on the host without strict=True",
        )


def _images(order: Sequence[int], bucket: Shape, streams: int) -> tuple[Batch, ...]:
    size = BATCH_IMAGES
    if len(order) >= streams:
        size = -(-len(order) // _multiple(-(-len(order) // BATCH_IMAGES), streams)) or 1
    groups = [tuple(order[start : start + size]) for start in range(0, len(order), size)]
    return tuple(Batch(rows, Shape(batch=len(rows), sizes=bucket.sizes)) for rows in groups)


def _multiple(batches: int, streams: int) -> int:
    return max(1, -(-batches // streams) * streams)


def _even(order: Sequence[int], lengths: Sequence[int], tokens: int, most: int, streams: int) -> int:
    """The least budget with which the batches still are no more than the next multiple of the streams."""
    if len(order) < streams or streams == 1:
        return tokens
    wanted = _multiple(_count(order, lengths, tokens, most), streams)
    return 1 + bisect_left(range(1, tokens), True, key=lambda less: _count(order, lengths, less, most) <= wanted)


def _count(order: Sequence[int], lengths: Sequence[int], tokens: int, most: int) -> int:
    """The batches of a budget; a larger budget never makes more."""
    count = start = 0
    while start < len(order):
        start += max(1, min(most, tokens // lengths[order[start]]))
        count += 1
    return count


def _free(
    order: Sequence[int], lengths: Sequence[int], buckets: Sequence[Shape], pads: bool, tokens: int, most: int
) -> tuple[Batch, ...]:
    if not order:
        return ()
    largest = choose_bucket(lengths[order[0]], buckets)  # the order is longest first: what fits here fits all
    batches = []
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        rows = tuple(order[start : start + max(1, min(most, tokens // longest))])
        if not pads:
            rows = tuple(row for row in rows if lengths[row] == longest)
        batches.append(Batch(rows, Shape(longest, len(rows), largest.sizes)))
        start += len(rows)
    return tuple(batches)


def _fixed(order: Sequence[int], lengths: Sequence[int], buckets: Sequence[Shape]) -> tuple[Batch, ...]:
    chosen = {length: choose_bucket(length, buckets).length for length in sorted(set(lengths), reverse=True)}
    of_length: dict[int, list[int]] = {}
    for row in order:
        of_length.setdefault(chosen[lengths[row]], []).append(row)
    batches = []
    for length, rows in of_length.items():
        shapes = sorted(bucket for bucket in buckets if bucket.length == length)
        start = 0
        while start < len(rows):
            shape = next((s for s in shapes if s.batch >= len(rows) - start), shapes[-1])
            batches.append(Batch(tuple(rows[start : start + shape.batch]), shape))
            start += shape.batch
    return tuple(batches)
