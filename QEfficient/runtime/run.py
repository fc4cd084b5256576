"""Rows → session → results, in the caller's order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays, Session
from QEfficient.errors import InputError, ManifestError, NumericsError
from QEfficient.records import Rows, TensorSpec
from QEfficient.runtime.plan import BATCH_TOKENS, Batch, plan

_SHOWN = 8  # rows that an error lists


def run(
    session: Session,
    rows: Rows,
    *,
    fill: Mapping[str, int],
    pads: bool = True,
    frames: Sequence[tuple[int, ...]] = (),
    progress: Callable[[int], None] | None = None,
    record: Callable[[Arrays, Arrays], None] | None = None,
    finite: bool = True,
) -> Arrays:
    """Runs rows of any number and any lengths.

    An output with a length dim (``seq_len``) comes back as ``(rows, rows.width, …)``, exactly 0 beyond each row's
    last real token; one with another free dim, a clip's frames, likewise; any other as ``(rows, …)``. No rows in: no
    rows out, without a call of the session. Of an output that ``rows.kept`` names, only its own rows come back.

    Args:
        session: An open session; at most ``session.slots`` of its runs are in flight.
        rows: Checked rows; each fits a bucket.
        fill: Input name → value that fills a row up to its batch's length; 0 where none is given.
        pads: As ``ModelFacts.pads``: False runs a row with rows of its own length only.
        frames: As ``ModelFacts.frames``.
        progress: Called after each batch with the number of rows that it finished.
        record: Called after each batch with the session's own inputs and outputs, padding and all.
        finite: Refuse results with NaN or Inf; False gives them.

    Raises:
        InputError: A row fits no bucket, or an input of the session is missing.
        NumericsError: A result is NaN or infinite; the message names the rows.
        DeviceError: The session failed. Runs in flight end first, further ones are not started.
    """
    _check_columns(session.inputs, rows)
    lengths = rows.lengths
    images = any(len(spec.shape) == 4 for spec in session.inputs)
    batches = plan(
        lengths,
        session.buckets,
        fixed_shapes=session.fixed_shapes,
        pads=pads,
        images=images,
        batch_tokens=session.batch_tokens or BATCH_TOKENS,
    )
    length_dim = session.buckets[0].length_dim
    kept = {spec.name: _kept(spec, length_dim, lengths, rows.width, frames) for spec in session.outputs}
    results = {spec.name: _empty(spec, len(rows), kept[spec.name]) for spec in session.outputs}
    with closing(_finished(session, batches, rows, fill)) as finished:
        for batch, inputs, outputs in finished:
            if record is not None:
                record(inputs, outputs)
            for name, result in results.items():
                _scatter(result, outputs[name], batch, kept[name])
                if finite:
                    _check_finite(name, result, batch, lengths)
            if progress is not None:
                progress(len(batch.rows))
    return {name: result[: rows.kept.get(name, len(rows))] for name, result in results.items()}


def _check_columns(inputs: Sequence[TensorSpec], rows: Rows) -> None:
    missing = [spec.name for spec in inputs if spec.name not in rows.columns]
    if missing:
        raise InputError(
            f"{', '.join(missing)} is missing.",
            got=", ".join(rows.columns),
            allowed=", ".join(spec.name for spec in inputs),
            do="pass every input of the model",
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of an output with a second free dim belongs to the rows: ``lengths`` of each, ``width`` of the result."""

    lengths: Sequence[int]
    width: int


def _kept(
    spec: TensorSpec, length_dim: str, lengths: Sequence[int], width: int, frames: Sequence[tuple[int, ...]]
) -> _Kept | None:
    """``None`` for an output with one entry a row."""
    if len(spec.shape) < 2 or isinstance(spec.shape[1], int):
        return None
    if spec.shape[1] == length_dim:
        return _Kept(lengths, width)
    if not frames:  # a dim that nothing is known of: refused in _empty
        return None
    return _Kept([frame_count(length, frames) for length in lengths], frame_count(width, frames))


def frame_count(samples: int, frames: Sequence[tuple[int, ...]]) -> int:
    """Frames that a chain of convolutions without padding makes of a clip.

    Args:
        samples: Length of the clip.
        frames: Kernel and stride of each convolution.
    """
    for kernel, stride in frames:
        samples = max(0, (samples - kernel) // stride + 1)
    return samples


def _empty(spec: TensorSpec, rows: int, kept: _Kept | None) -> NDArray[np.generic]:
    """Zeros of the result's shape. Only batch and length may be free, as first and second dim."""
    head, tail = ((rows,), spec.shape[1:]) if kept is None else ((rows, kept.width), spec.shape[2:])
    if isinstance(spec.shape[0], int) or not all(isinstance(dim, int) for dim in tail):
        raise ManifestError(
            f"The output {spec.name!r} can't be cut back to rows.",
            got=str(spec.shape),
            allowed="(batch, length, sizes…) or (batch, sizes…)",
            do="compile the model again",
        )
    return np.zeros((*head, *(int(dim) for dim in tail)), np.dtype(spec.dtype))


def _finished(
    session: Session, batches: Sequence[Batch], rows: Rows, fill: Mapping[str, int]
) -> Generator[tuple[Batch, Arrays, Arrays], None, None]:
    """Yields batches, their inputs and outputs as they finish. However it ends, no run is left behind."""
    if session.slots == 1 or len(batches) == 1:  # a hand-over to another thread would only cost time
        for batch in batches:
            inputs = _build(session.inputs, rows, batch, fill)
            yield batch, inputs, session.run(inputs)
        return
    waiting = iter(batches)
    flying: dict[Future[Arrays], tuple[Batch, Arrays]] = {}
    try:
        while True:
            for batch in islice(waiting, session.slots - len(flying)):
                inputs = _build(session.inputs, rows, batch, fill)
                flying[session.submit(inputs)] = batch, inputs
            if not flying:
                return
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                yield *flying.pop(future), future.result()
    finally:
        for future in flying:
            future.cancel()
        wait(flying)


def _build(inputs: Sequence[TensorSpec], rows: Rows, batch: Batch, fill: Mapping[str, int]) -> Arrays:
    """The batch's arrays. Rows that only fill up a fixed shape are copies of its first row."""
    arrays: Arrays = {}
    for spec in inputs:
        value = 0 if spec.name == "attention_mask" else fill.get(spec.name, 0)
        array = np.full(spec.at(batch.shape), value, np.dtype(spec.dtype))
        column = rows.columns[spec.name]
        for place, row in enumerate(batch.rows):
            array[place, : len(column[row])] = column[row]  # an image fills its place
        array[len(batch.rows) :] = array[0]
        arrays[spec.name] = array
    return arrays


def _scatter(result: NDArray[np.generic], output: NDArray[np.generic], batch: Batch, kept: _Kept | None) -> None:
    """Puts a batch's output where its rows belong; ``kept`` is given for one vector a token."""
    if kept is None:
        result[list(batch.rows)] = output[: len(batch.rows)]
        return
    for place, row in enumerate(batch.rows):
        length = kept.lengths[row]
        result[row, :length] = output[place, :length]


def _check_finite(name: str, result: NDArray[np.generic], batch: Batch, lengths: Sequence[int]) -> None:
    if result.dtype.kind != "f":
        return
    bad = sorted(row for row in batch.rows if not np.isfinite(result[row]).all())
    if bad:
        more = f", and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise NumericsError(
            f"The output {name!r} holds NaN or infinite numbers.",
            got=", ".join(f"row {row} ({lengths[row]} tokens)" for row in bad[:_SHOWN]) + more,
            allowed="finite numbers",
            do="load the program with check=True; on a card numbers may have left fp16's range: see doctor()",
            rows=bad,
        )
