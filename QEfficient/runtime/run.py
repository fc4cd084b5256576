"""Rows → session → results, in the caller's order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends.base import Arrays, Session
from QEfficient.errors import DeviceError, ManifestError, NumericsError
from QEfficient.records import LENGTH_DIM, Rows, TensorSpec, Tuning
from QEfficient.runtime import spans
from QEfficient.runtime.counts import RunCounter
from QEfficient.runtime.plan import BATCH_TOKENS, Batch, plan
from QEfficient.runtime.refusals import listed, missing
from QEfficient.runtime.tables import Tables

log = logging.getLogger("QEfficient")


@dataclass(frozen=True, slots=True)
class How:
    """How a call's rows are run.

    Attributes:
        fill: Input name → value that fills a row up to its batch's length; 0 where none is given.
        pads: As ``RowRules.pads``: False runs a row with rows of its own length only.
        frames: As ``RowRules.frames``.
        progress: Called after each batch with the number of rows that it finished.
        record: Called after each batch with the session's own inputs and outputs, padding and all.
        finite: Refuse results with NaN or Inf; False gives them.
        explain: Says more of such a refusal, given it and the columns of the first bad row.
        counter: Where to count what was computed.
        tables: What the rows' numbers are looked up in; a row with one past the end is refused before a run.
    """

    fill: Mapping[str, int] = field(default_factory=dict)
    pads: bool = True
    frames: Sequence[tuple[int, ...]] = ()
    progress: Callable[[int], None] | None = None
    record: Callable[[Arrays, Arrays], None] | None = None
    finite: bool = True
    explain: Callable[[NumericsError, Arrays], NumericsError] | None = None
    counter: RunCounter | None = None
    tables: Tables = Tables()


def run_rows(session: Session, rows: Rows, how: How, numbers: Sequence[int] | None = None) -> Arrays:
    """Runs rows of any number and any lengths.

    An output with a length dim (``seq_len``) comes back as ``(rows, rows.width, …)``, exactly 0 beyond each row's
    last real token; one with another free dim, a clip's frames, likewise; any other as ``(rows, …)``. No rows in: no
    rows out, without a call of the session. Of an output that ``rows.kept`` names, only its own rows come back.

    Args:
        session: An open session; it has at most one run more than its ``slots`` at a time.
        rows: Checked rows; each fits a bucket.
        how: What else there is to know.
        numbers: What to call each row in an error; left out, its place.

    Raises:
        InputError: A row fits no bucket, has a number past its table, or an input of the session is missing.
        NumericsError: A result is NaN or infinite; the message names the rows.
        DeviceError: The session failed, and the message names the rows of the batch. Runs in flight end first, further
            ones are not started.
    """
    batches = planned(session, rows, how, numbers)
    job = Job(session, rows, len(batches), how.frames, numbers)
    if len(batches) == 1:
        compute(session, job, batches[0], how)
        return job.results()
    with Runs(session, how) as runs:
        runs.add(job, batches)
        while job.left:
            if runs.alone():
                runs.run_next()
            else:
                runs.feed()
                runs.finish(runs.events.get())
    return job.results()


def planned(session: Session, rows: Rows, how: How, numbers: Sequence[int] | None = None) -> tuple[Batch, ...]:
    """Packs rows into batches.

    Raises:
        InputError: A row fits no bucket, has a number past its table, or an input of the session is missing.
    """
    with spans.span("plan"):
        _check_columns(session.inputs, rows)
        how.tables.check(rows, numbers)
        # A Tunable's. To ask isinstance of a protocol takes longer than the plan of one text.
        tuning: Tuning | None = getattr(session, "tuning", None)
        batches = plan(
            rows.lengths,
            session.shapes,
            fixed_shapes=session.fixed_shapes,
            pads=how.pads,
            images=4 in [len(spec.shape) for spec in session.inputs],
            batch_tokens=BATCH_TOKENS if tuning is None else tuning.batch_tokens,
            streams=session.slots,
        )
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "%d rows in %d batches: %d of their %d positions are the rows' own, the others padding",
            len(rows),
            len(batches),
            sum(rows.lengths),
            sum(batch.shape.batch * batch.shape.length for batch in batches),
        )
    return batches


def compute(session: Session, job: Job, batch: Batch, how: How) -> None:
    """Runs one batch here and now.

    Raises:
        NumericsError: A result is NaN or infinite.
        DeviceError: The session failed.
    """
    inputs = arrays_of(session, job, batch, how)
    with spans.span("run"), rows_named(job, batch):
        outputs = session.run(inputs)
    gather(job, batch, inputs, outputs, how)


@contextmanager
def rows_named(job: Job, batch: Batch) -> Iterator[None]:
    """Says of an error of the session's which rows were run."""
    try:
        yield
    except Exception as error:
        numbers = list(dict.fromkeys(job.numbers[row] for row in batch.rows))
        if isinstance(error, DeviceError):
            error.rows = tuple(numbers)
        error.add_note(f"The batch that failed held the rows {listed([str(row) for row in numbers], ' and')}.")
        raise


def arrays_of(session: Session, job: Job, batch: Batch, how: How) -> Arrays:
    """The batch's arrays; from here on it counts as computed."""
    tokens = sum(map(job.rows.lengths.__getitem__, batch.rows))
    positions = batch.shape.batch * batch.shape.length
    if how.counter is not None:
        how.counter.add(rows=len(batch.rows), batches=1, tokens=tokens, positions=positions)
    spans.batch(rows=len(batch.rows), tokens=tokens, positions=positions)
    with spans.span("plan"):
        return build(session.inputs, job.rows, batch, how.fill)


def gather(job: Job, batch: Batch, inputs: Arrays, outputs: Arrays, how: How) -> None:
    """Takes a batch's outputs into the results, and tells those who want to know.

    Raises:
        NumericsError: One is NaN or infinite.
    """
    if how.record is not None:
        how.record(inputs, outputs)
    with spans.span("gather"):
        job.gather(batch, outputs)
        found = job.not_finite(batch, outputs) if how.finite else None
    if found is not None:
        raise _refusal(job, *found, how)
    if how.progress is not None:
        how.progress(len(batch.rows))


def _refusal(job: Job, name: str, bad: Sequence[int], how: How) -> NumericsError:
    named = [f"row {job.numbers[row]} ({job.rows.lengths[row]} tokens)" for row in bad]
    error = NumericsError(
        f"The output {name!r} holds NaN or infinite numbers.",
        got=listed(named),
        allowed="finite numbers",
        do="load the program with check=True; on a card numbers may have left fp16's range: see doctor()",
        rows=[job.numbers[row] for row in bad],
    )
    if how.explain is None:
        return error
    return how.explain(error, {n: np.asarray(column[bad[0]]) for n, column in job.rows.columns.items()})


class Job:
    """Rows that were handed in together, and what there is of their results.

    Args:
        session: Whose outputs they are.
        rows: The rows.
        batches: Into how many batches they were packed.
        frames: As ``RowRules.frames``.
        numbers: What to call each row in an error; left out, its place.
    """

    def __init__(
        self,
        session: Session,
        rows: Rows,
        batches: int,
        frames: Sequence[tuple[int, ...]] = (),
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.rows, self.left = rows, batches
        self.numbers = range(len(rows.lengths)) if numbers is None else numbers
        self._kept: dict[str, _Kept | None] = {}
        self._results: Arrays = {}
        for spec in session.outputs:
            kept = self._kept[spec.name] = _kept(spec, rows.lengths, rows.width, frames)
            self._results[spec.name] = _empty(spec, len(rows.lengths), kept)

    def results(self) -> Arrays:
        """The results, once no batch is left."""
        if not self.rows.kept:
            return self._results
        return {name: result[: self.rows.kept.get(name, len(self.rows))] for name, result in self._results.items()}

    def gather(self, batch: Batch, outputs: Arrays) -> None:
        """Puts a batch's outputs where its rows belong."""
        for name, result in self._results.items():
            output, kept = outputs[name], self._kept[name]
            # Row by row: for an index of many rows, numpy releases the GIL, and with threads that serve many devices
            # it takes long to get it back.
            for place, row in enumerate(batch.rows):
                if kept is None:
                    result[row] = output[place]
                else:
                    length = kept.lengths[row]
                    result[row, :length] = output[place, :length]
        self.left -= 1

    def not_finite(self, batch: Batch, outputs: Arrays) -> tuple[str, list[int]] | None:
        """The first output of a gathered batch with NaN or Inf in what a result keeps of it, and its rows."""
        for name, result in self._results.items():
            if result.dtype.kind == "f" and not np.isfinite(outputs[name]).all():
                bad = sorted(row for row in batch.rows if not np.isfinite(result[row]).all())
                if bad:
                    return name, bad
        return None


class Runs:
    """The runs of one call: batches that wait, that are in flight and that are done. One thread's own.

    However the ``with`` block ends, no run is left behind.

    Attributes:
        events: Runs in flight come here as they finish; whoever uses this object may let other futures come here too.
        submitted: Whether any run was handed over to the session's own threads.
    """

    def __init__(self, session: Session, how: How) -> None:
        self.events: SimpleQueue[Future[Any]] = SimpleQueue()
        self._session, self._how = session, how
        self._waiting: deque[tuple[Job, Batch]] = deque()
        self._flying: dict[Future[Arrays], tuple[Job, Batch, Arrays]] = {}
        self._process = fork.process()
        self.submitted = False

    @property
    def waiting(self) -> int:
        """Batches that are not started."""
        return len(self._waiting)

    @property
    def flying(self) -> int:
        """Runs that are started and not finished."""
        return len(self._flying)

    def add(self, job: Job, batches: Sequence[Batch]) -> None:
        """Puts the batches of a job behind those that wait."""
        self._waiting.extend((job, batch) for batch in batches)

    def alone(self, *, last: bool = True) -> bool:
        """Whether the next batch is best run here: a hand-over to another thread would only cost time.

        Args:
            last: Nothing will be added before all is done.
        """
        return bool(self._waiting) and (
            self._session.slots == 1 or (last and len(self._waiting) == 1 and not self._flying)
        )

    def run_next(self) -> None:
        """Runs the next batch here and now.

        Raises:
            NumericsError: A result is NaN or infinite.
            DeviceError: The session failed.
        """
        compute(self._session, *self._waiting.popleft(), self._how)

    def feed(self) -> None:
        """Starts as many runs as the session takes, and hands it one more: no stream need wait for this thread."""
        while self._waiting and len(self._flying) <= self._session.slots:
            job, batch = self._waiting.popleft()
            inputs = arrays_of(self._session, job, batch, self._how)
            with rows_named(job, batch):
                future = self._session.submit(inputs)
            self.submitted = True
            self._flying[future] = job, batch, inputs
            spans.follow("run", future)
            future.add_done_callback(self.events.put)

    def finish(self, future: Future[Arrays]) -> None:
        """Takes in a run that came out of :attr:`events`.

        Raises:
            NumericsError: A result is NaN or infinite.
            DeviceError: The session failed.
        """
        job, batch, inputs = self._flying.pop(future)
        with rows_named(job, batch):
            outputs = future.result()
        gather(job, batch, inputs, outputs, self._how)

    def close(self, *, wait_for: bool = True) -> None:
        """Starts nothing more, and waits for what can't be stopped, unless ``wait_for`` is false."""
        self._waiting.clear()
        if self._flying:
            if fork.process() is self._process:  # a forked child has the futures, not the threads
                for future in self._flying:
                    future.cancel()
                if wait_for:
                    wait(self._flying)
            self._flying.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def build(inputs: Sequence[TensorSpec], rows: Rows, batch: Batch, fill: Mapping[str, int]) -> Arrays:
    """The batch's arrays. Rows that only fill up a fixed shape are copies of its first row."""
    arrays: Arrays = {}
    count, sizes = len(batch.rows), batch.shape.sizes
    for spec in inputs:
        # Row by row, and not np.zeros: numpy then keeps the GIL, as in Job.gather.
        array = np.empty([dim if isinstance(dim, int) else sizes[dim] for dim in spec.shape], spec.dtype)
        beyond = 0 if spec.name == "attention_mask" else fill.get(spec.name, 0)
        column = rows.columns[spec.name]
        for place, row in enumerate(batch.rows):
            values = column[row]
            end = len(values)
            array[place, :end] = values  # an image fills its place
            array[place, end:] = beyond
        if count < len(array):
            array[count:] = array[0]
        arrays[spec.name] = array
    return arrays


def _check_columns(inputs: Sequence[TensorSpec], rows: Rows) -> None:
    if absent := [spec.name for spec in inputs if spec.name not in rows.columns]:
        known = ", ".join(spec.name for spec in inputs)
        raise missing(absent, rows.columns, known, "pass every input of the model")


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of an output with a second free dim belongs to the rows: ``lengths`` of each, ``width`` of the result."""

    lengths: Sequence[int]
    width: int


def _kept(spec: TensorSpec, lengths: Sequence[int], width: int, frames: Sequence[tuple[int, ...]]) -> _Kept | None:
    """``None`` for an output with one entry a row."""
    if len(spec.shape) < 2 or isinstance(spec.shape[1], int):
        return None
    if spec.shape[1] == LENGTH_DIM:
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
    sizes = [dim for dim in tail if isinstance(dim, int)]
    if isinstance(spec.shape[0], int) or len(sizes) < len(tail):
        raise ManifestError(
            f"The output {spec.name!r} can't be cut back to rows.",
            got=str(spec.shape),
            allowed="(batch, length, sizes…) or (batch, sizes…)",
            do="compile the model again",
        )
    return np.zeros((*head, *sizes), spec.dtype)
