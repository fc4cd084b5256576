"""Rows → session → results, in the caller's order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends.base import Arrays, Closing, Session
from QEfficient.errors import DeviceError, ManifestError, NumericsError
from QEfficient.records import BATCH_DIM, LENGTH_DIM, Rows, TensorSpec, Tuning
from QEfficient.runtime import spans
from QEfficient.runtime.counts import RunCounter
from QEfficient.runtime.plan import BATCH_TOKENS, Batch, plan
from QEfficient.runtime.refusals import listed, missing
from QEfficient.runtime.tables import AT_ONCE, Tables

log = logging.getLogger("QEfficient")

REMEMBERED = 1024  # batches of a runner


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
    """Runs rows once; see :meth:`RowRunner.run`."""
    return RowRunner(session, how).run(rows, numbers)


class RowRunner:
    """A session, and all that is known of how rows are run in it. Safe from many threads.

    What does not change from call to call is worked out once, so that few rows, which come one call after the other,
    need no plan of their own: of lengths that make one batch it is remembered.

    Args:
        session: An open session; it has at most one run more than its ``slots`` at a time.
        how: What else there is to know.
    """

    def __init__(self, session: Session, how: How) -> None:
        self.session, self.how = session, how
        self._names = [spec.name for spec in session.inputs]
        self._images = 4 in [len(spec.shape) for spec in session.inputs]
        self._tables = [(name, size) for name, size in how.tables.sizes.items() if name in self._names]
        self._known: dict[tuple[tuple[int, ...], int, int], tuple[Batch, ...]] = {}

    def run(self, rows: Rows, numbers: Sequence[int] | None = None) -> Arrays:
        """Runs rows of any number and any lengths.

        An output with a length dim (``seq_len``) comes back as ``(rows, rows.width, …)``, exactly 0 beyond each row's
        last real token; one with another free dim, a clip's frames, likewise; any other as ``(rows, …)``. No rows in:
        no rows out, without a call of the session. Of an output that ``rows.kept`` names, only its own rows come back.

        Args:
            rows: Checked rows; each fits a bucket.
            numbers: What to call each row in an error; left out, its place.

        Raises:
            InputError: A row fits no bucket, has a number past its table, or an input of the session is missing.
            NumericsError: A result is NaN or infinite; the message names the rows.
            DeviceError: The session failed, and the message names the rows of the batch. Runs in flight end first,
                further ones are not started.
        """
        rows, batches = self.planned(rows, numbers)
        job = Job(self, rows, len(batches), numbers)
        if len(batches) == 1:
            self.compute(job, batches[0])
            return job.results()
        with Runs(self) as runs:
            runs.add(job, batches)
            while job.left:
                if runs.alone():
                    runs.run_next()
                else:
                    runs.feed()
                    runs.finish(runs.events.get())
        return job.results()

    def planned(self, rows: Rows, numbers: Sequence[int] | None = None) -> tuple[Rows, tuple[Batch, ...]]:
        """The rows as they are run, their padding such as every table holds, and the batches that they are packed into.

        Raises:
            InputError: A row fits no bucket, has a number past its table, or an input of the session is missing.
        """
        with spans.NOTHING if (watcher := spans.WATCHER.get()) is None else watcher.span("plan"):
            if absent := [name for name in self._names if name not in rows.columns]:
                raise missing(absent, rows.columns, ", ".join(self._names), "pass every input of the model")
            few = 0 < len(rows.lengths) <= AT_ONCE
            if not few or any(np.concatenate(rows.columns[name]).max() >= size for name, size in self._tables):
                rows = self.how.tables.without_padding(rows, self.how.fill)
                self.how.tables.check(rows, numbers)
            batches = self._batches(rows.lengths)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "%d rows in %d batches: %d of their %d positions are the rows' own, the others padding",
                len(rows),
                len(batches),
                sum(rows.lengths),
                sum(batch.shape.batch * batch.shape.length for batch in batches),
            )
        return rows, batches

    def _batches(self, lengths: tuple[int, ...]) -> tuple[Batch, ...]:
        session, slots = self.session, self.session.slots
        # A Tunable's. To ask isinstance of a protocol takes longer than the plan of one text.
        tuning: Tuning | None = getattr(session, "tuning", None)
        tokens = BATCH_TOKENS if tuning is None else tuning.batch_tokens
        key = lengths, tokens, slots
        if (known := self._known.get(key)) is not None:
            return known
        batches = plan(
            lengths,
            session.shapes,
            fixed_shapes=session.fixed_shapes,
            pads=self.how.pads,
            images=self._images,
            batch_tokens=tokens,
            streams=slots,
        )
        if len(batches) == 1 and len(lengths) <= AT_ONCE:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = batches
        return batches

    def compute(self, job: Job, batch: Batch) -> None:
        """Runs one batch here and now.

        Raises:
            NumericsError: A result is NaN or infinite.
            DeviceError: The session failed.
        """
        inputs = self.arrays(job.rows, batch)
        watcher = spans.WATCHER.get()
        with spans.NOTHING if watcher is None else watcher.span("run"), rows_named(job, batch):
            outputs = self.session.run(inputs)
        self.gather(job, batch, inputs, outputs)

    def arrays(self, rows: Rows, batch: Batch) -> Arrays:
        """The batch's arrays; from here on it counts as computed."""
        watcher, sizes = spans.WATCHER.get(), batch.shape.sizes
        tokens = sum(map(rows.lengths.__getitem__, batch.rows))
        work = len(batch.rows), 1, tokens, sizes[BATCH_DIM] * sizes.get(LENGTH_DIM, 1)
        for counter in (self.how.counter, None if watcher is None else watcher.counter):
            if counter is not None:
                counter.sums += work
        with spans.NOTHING if watcher is None else watcher.span("plan"):
            return build(self.session.inputs, rows, batch, self.how.fill)

    def gather(self, job: Job, batch: Batch, inputs: Arrays, outputs: Arrays) -> None:
        """Takes a batch's outputs into the results, and tells those who want to know.

        Raises:
            NumericsError: One is NaN or infinite.
        """
        if self.how.record is not None:
            self.how.record(inputs, outputs)
        with spans.NOTHING if (watcher := spans.WATCHER.get()) is None else watcher.span("gather"):
            job.gather(batch, outputs)
            found = job.not_finite(batch, outputs) if self.how.finite else None
        if found is not None:
            raise self._refusal(job, *found)
        if self.how.progress is not None:
            self.how.progress(len(batch.rows))

    def _refusal(self, job: Job, name: str, bad: Sequence[int]) -> NumericsError:
        named = [f"row {job.numbers[row]} ({job.rows.lengths[row]} tokens)" for row in bad]
        error = NumericsError(
            f"The output {name!r} holds NaN or infinite numbers.",
            got=listed(named),
            allowed="finite numbers",
            do="load the program with check=True; on a card numbers may have left fp16's range: see doctor()",
            rows=[job.numbers[row] for row in bad],
        )
        if self.how.explain is None:
            return error
        return self.how.explain(error, {name: np.asarray(job.rows.columns[name][bad[0]]) for name in self._names})


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


class Job:
    """Rows that were handed in together, and what there is of their results.

    Args:
        runner: Runs them.
        rows: The rows.
        batches: Into how many batches they were packed.
        numbers: What to call each row in an error; left out, its place.
    """

    def __init__(self, runner: RowRunner, rows: Rows, batches: int, numbers: Sequence[int] | None = None) -> None:
        self.rows, self.left = rows, batches
        self.numbers = range(len(rows.lengths)) if numbers is None else numbers
        # Of an output with a second free dim also how much of it is each row's own.
        self._results = {spec.name: _result(spec, rows, runner.how.frames) for spec in runner.session.outputs}

    def results(self) -> Arrays:
        """The results, once no batch is left."""
        kept = self.rows.kept
        return {name: result[: kept[name]] if name in kept else result for name, (result, _) in self._results.items()}

    def gather(self, batch: Batch, outputs: Arrays) -> None:
        """Puts a batch's outputs where its rows belong."""
        for name, (result, lengths) in self._results.items():
            output = outputs[name]
            # Row by row: for an index of many rows, numpy releases the GIL, and with threads that serve many devices
            # it takes long to get it back.
            for place, row in enumerate(batch.rows):
                if lengths is None:
                    result[row] = output[place]
                else:
                    result[row, : lengths[row]] = output[place, : lengths[row]]
        self.left -= 1

    def not_finite(self, batch: Batch, outputs: Arrays) -> tuple[str, list[int]] | None:
        """The first output of a gathered batch with NaN or Inf in what a result keeps of it, and its rows."""
        for name, (result, _) in self._results.items():
            if result.dtype.kind == "f" and not np.isfinite(outputs[name]).all():
                bad = sorted(row for row in batch.rows if not np.isfinite(result[row]).all())
                if bad:
                    return name, bad
        return None


class Runs(Closing):
    """The runs of one call: batches that wait, that are in flight and that are done. One thread's own.

    However the ``with`` block ends, no run is left behind.

    Attributes:
        events: Runs in flight come here as they finish; whoever uses this object may let other futures come here too.
        submitted: Whether any run was handed over to the session's own threads.
    """

    def __init__(self, runner: RowRunner) -> None:
        self.events: SimpleQueue[Future[Any]] = SimpleQueue()
        self._runner, self._session = runner, runner.session
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
        self._runner.compute(*self._waiting.popleft())

    def feed(self) -> None:
        """Starts as many runs as the session takes, and hands it one more: no stream need wait for this thread."""
        while self._waiting and len(self._flying) <= self._session.slots:
            job, batch = self._waiting.popleft()
            inputs = self._runner.arrays(job.rows, batch)
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
        self._runner.gather(job, batch, inputs, outputs)

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


def frame_count(samples: int, frames: Sequence[tuple[int, ...]]) -> int:
    """Frames that a chain of convolutions without padding makes of a clip.

    Args:
        samples: Length of the clip.
        frames: Kernel and stride of each convolution.
    """
    for kernel, stride in frames:
        samples = max(0, (samples - kernel) // stride + 1)
    return samples


def _result(
    spec: TensorSpec, rows: Rows, frames: Sequence[tuple[int, ...]]
) -> tuple[NDArray[np.generic], Sequence[int] | None]:
    """Zeros of a result's shape, and how much of it is each row's own; ``None`` for an output with one entry a row.

    Only batch and length, or frames, may be free, as first and second dim.
    """
    (batch, *tail), head, lengths = spec.shape, [len(rows.lengths)], None
    if tail and tail[0] == LENGTH_DIM:
        lengths, width = rows.lengths, rows.width
    elif tail and isinstance(tail[0], str) and frames:
        lengths = tuple(frame_count(length, frames) for length in rows.lengths)
        width = frame_count(rows.width, frames)
    if lengths is not None:
        head, tail = [*head, width], tail[1:]
    sizes = [dim for dim in tail if isinstance(dim, int)]
    if isinstance(batch, int) or len(sizes) < len(tail):
        raise ManifestError(
            f"The output {spec.name!r} can't be cut back to rows.",
            got=str(spec.shape),
            allowed="(batch, length, sizes…) or (batch, sizes…)",
            do="compile the model again",
        )
    return np.zeros((*head, *sizes), spec.dtype), lengths
