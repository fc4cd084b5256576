"""A compiled program that answers: opened, and its tokenizer read, on first use."""

from __future__ import annotations

import copy
import dataclasses
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeAlias

from QEfficient import fork
from QEfficient.arguments import device_ids
from QEfficient.backends.base import Arrays, Backend, Session, Tunable
from QEfficient.errors import DeviceError, NumericsError, UsageError
from QEfficient.inference.arrays import reader
from QEfficient.inference.session_handle import SessionHandle
from QEfficient.records import LENGTH_DIM, Json, Program, Rows, TextFacts, Tuning
from QEfficient.runtime.beside import stand_in
from QEfficient.runtime.calibrate import calibrate as measured
from QEfficient.runtime.calibrate import remember, remembered
from QEfficient.runtime.counts import RunCounter
from QEfficient.runtime.refusals import SHOWN
from QEfficient.runtime.run import How, RowRunner
from QEfficient.runtime.stream import Prepare, Source, Stream, W
from QEfficient.runtime.tables import Tables
from QEfficient.runtime.write_io import as_carried
from QEfficient.text.tokenizer import Tokenizer

Explain: TypeAlias = Callable[[Program, NumericsError, Arrays], NumericsError]
_User: TypeAlias = tuple[dict[int, int], int]
"""All who use the session, in the process that lent it, and the thread that it was lent to."""


class LoadedProgram:
    """Program, backend and whatever was opened for them. Safe from many threads.

    Args:
        program: The loaded program.
        backend: Opens it.
        reason: Why this backend was chosen, for ``device_report()``.
        strict: Take only the compiled shapes, as a card does.
        explain: Adds to an error about NaN or Inf what it can find out of the row that is to blame.
    """

    def __init__(
        self, program: Program, backend: Backend, reason: str, *, strict: bool = False, explain: Explain | None = None
    ) -> None:
        self.program, self.backend, self.reason, self.strict = program, backend, reason, strict
        self._explain = explain
        self.work = RunCounter()
        self._session: Session | None = None
        self._runner: RowRunner | None = None
        self._read: Callable[[Any], Rows] | None = None
        self._devices: tuple[int, ...] | None = None
        self._tokenizer: Tokenizer | None = None
        self._tuning: Tuning | None = None
        self._retired = self._outdated = self._unclosed = False
        self._begin()
        fork.in_child(self._begin)

    def _begin(self) -> None:
        """State that belongs to one process: a forked child starts with nobody using the session."""
        self._users: dict[int, int] = {}  # how many times each thread uses the session
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def again(self) -> LoadedProgram:
        """The same program with a session of its own."""
        return LoadedProgram(self.program, self.backend, self.reason, strict=self.strict, explain=self._explain)

    @property
    def text(self) -> TextFacts:
        """The program's text facts.

        Raises:
            UsageError: A bare graph has none.
        """
        if self.program.manifest.text is None:
            raise UsageError(
                "This program was compiled from a bare graph and takes arrays only.",
                got=str(self.program.path),
                allowed="generate(inputs)",
                do="compile through QEFFAutoModel.from_pretrained to have encode",
            )
        return self.program.manifest.text

    def limited(self, max_seq_length: int | None) -> TextFacts:
        """The text facts with a limit that the caller set, ``None`` where he set none.

        Raises:
            UsageError: It is past the program's longest bucket.
        """
        if max_seq_length is None:
            return self.text
        longest = max(self.text.max_length, self.program.manifest.shapes[-1].length)
        if max_seq_length > longest:
            raise UsageError(
                "max_seq_length was raised after compile, past the program's longest bucket.",
                got=f"max_seq_length={max_seq_length}",
                allowed=f"1 to {longest} with this program",
                do="call compile() again: its buckets then go up to max_seq_length",
            )
        return dataclasses.replace(self.text, max_length=max_seq_length)

    @contextmanager
    def session(self, devices: Sequence[int] | None = None) -> Iterator[Session]:
        """Lends the session on these devices.

        It is opened once and kept. Other devices than the last caller's close it first, since a device has cores for
        one program only; whoever still uses it finishes before.

        Raises:
            UsageError: It is this thread that still uses it, on other devices.
        """
        runner, user = self._lend(devices)
        try:
            yield runner.session
        finally:
            self._take_back(user)

    def _lend(self, devices: Sequence[int] | None) -> tuple[RowRunner, _User]:
        wanted = None if devices is None else device_ids(devices)
        thread = threading.get_ident()
        with self._lock:
            if self._users and self._devices != wanted:
                self._wait(lambda: self._devices == wanted)
            if self._session is None or self._devices != wanted or self._unclosed:
                self._close()
                session = self.backend.open(self.program, devices, strict=self.strict)
                if isinstance(session, Tunable):
                    self._tuning = self._tuning or remembered(self.program, self.backend)
                    if self._tuning is not None:
                        session.tune(self._tuning)
                self._session, self._devices = session, wanted
            if self._runner is None or self._runner.session is not self._session:
                self._runner = RowRunner(self._session, self._how())
            self._users[thread] = self._users.get(thread, 0) + 1
            return self._runner, (self._users, thread)

    def handed_out(self) -> SessionHandle:
        """The open session, or one opened now, for somebody who may keep it longer than it stays open."""
        with self._lock, self.session(self._devices if self._session is not None else None) as session:
            return SessionHandle(session, self._leased, self._close_this)

    @contextmanager
    def _leased(self, session: Session) -> Iterator[None]:
        """Keeps a session open that was handed out before.

        Raises:
            UsageError: It is closed, whether or not another one is open.
        """
        with self._lock:
            if session is not self._session or self._unclosed:
                raise UsageError(
                    "This session of qpc_session is closed.",
                    got="a run after compile(), close(), warmup(), or a call with other device_ids",
                    allowed="the session that is open now",
                    do="take model.qpc_session anew",
                )
            _, user = self._lend(self._devices)
        try:
            yield
        finally:
            self._take_back(user)

    def _close_this(self, session: Session) -> None:
        with self._lock:
            if session is self._session:
                self._wait(lambda: session is not self._session)
            if session is self._session:  # else another was opened meanwhile, which is not ours to close
                self._close()

    def _take_back(self, user: _User) -> None:
        users, thread = user
        if users is not self._users:  # a forked child inherits iterators, which end there too; nothing was lent there
            return
        with self._lock:
            users[thread] -= 1
            if not users[thread]:
                del users[thread]
            self._changed.notify_all()  # first: closing may fail, and who waits must not wait for ever
            if (self._retired or self._outdated) and not users:
                if thread == threading.get_ident():
                    self._close()
                else:  # the garbage collector's, which may be one that closing waits for
                    self._close_aside()

    def _close_aside(self) -> None:
        def close() -> None:
            with self._lock:
                if not self._users:
                    self._close()

        with suppress(RuntimeError):  # the interpreter ends, and its hooks close what is open
            threading.Thread(target=close, name="qefficient-close", daemon=True).start()

    def warmup(self, *, calibrate: bool, devices: Sequence[int] | None = None) -> None:
        """Opens the program as it runs best on this machine, and runs every bucket once.

        Args:
            calibrate: Measure what is best, unless it is known.
            devices: Of the card; ``None``: whichever the runtime chooses.
        """
        with self.session(devices) as session:
            unknown = calibrate and self._tuning is None
            found = measured(self.program, self.backend, session) if unknown else None
        if found is not None:
            self._adopt(found)
        with self.session(devices) as session:
            for bucket in session.shapes:
                arrays = {spec.name: stand_in(spec, spec.at(bucket)) for spec in session.inputs}
                session.run(arrays)
                if not session.fixed_shapes and session.slots > 1:
                    session.submit(arrays).result()
            if isinstance(session, Tunable):
                session.use_huge_pages()

    def _adopt(self, tuning: Tuning) -> None:
        """Keeps what was measured, and runs so as soon as nobody uses the session that does not."""
        remember(self.program, self.backend, tuning)
        with self._lock:
            self._tuning = tuning
            self._outdated = not (isinstance(self._session, Tunable) and self._session.tuning == tuning)
            if self._outdated and not self._users:
                self._close()

    def _close(self) -> None:
        self._unclosed = True  # Ctrl-C may end this: whoever comes next closes it first
        try:
            if self._session is not None:
                self._session.close()
        except DeviceError:
            self._forget()
            raise
        self._forget()

    def _forget(self) -> None:
        self._session = self._runner = None
        self._outdated = self._unclosed = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The program's own tokenizer.

        Raises:
            UsageError: The program has none.
        """
        if self._tokenizer is None:
            if self.text.tokenizer is None:
                raise UsageError(
                    "This program has no tokenizer of its own, so it takes token ids only.",
                    got=self.program.manifest.model.name if self.program.manifest.model else str(self.program.path),
                    allowed="generate(inputs) with ids from the model's own tokenizer",
                    do="load the model by name, from a repo whose tokenizer has a fast form",
                )
            # Two threads may both read it; either copy serves.
            longest = max(self.text.max_length, self.program.manifest.shapes[-1].length)
            facts = dataclasses.replace(self.text, max_length=longest)  # a caller may raise max_seq_length that far
            self._tokenizer = Tokenizer.from_folder(self.program.path, facts)
        return self._tokenizer

    @property
    def width(self) -> int:
        """Numbers of a vector as the program gives it; of a head, its labels."""
        return int(self.program.manifest.outputs[0].shape[-1])

    @property
    def kept_dims(self) -> int:
        """Numbers of a pooled vector that a caller gets who asks for none: no more than there are."""
        wanted = self.text.truncate_dim
        return self.width if wanted is None else min(wanted, self.width)

    @property
    def tables(self) -> Tables:
        """What the program's inputs are looked up in. The runner keeps it, and so it must not keep this object."""
        return Tables(self.program.manifest.tables, partial(_token, weakref.ref(self)))

    def token(self, token_id: int) -> str | None:
        """The token of an id; ``None`` where there is none, or no tokenizer."""
        text = self.program.manifest.text
        return None if text is None or text.tokenizer is None else self.tokenizer.token(token_id)

    def warn_of_tokens(self) -> None:
        """Warns of tokens that the program's own tokenizer gives, and that the model has no row for."""
        manifest = self.program.manifest
        rows, tokens = manifest.tables.get("input_ids"), manifest.tokens
        if rows is None or tokens is None or tokens <= rows:
            return
        named = [f"{number} {self.token(number)!r}" for number in range(rows, min(tokens, rows + SHOWN))]
        more = f" and {tokens - rows - SHOWN} more" if tokens - rows > SHOWN else ""
        warnings.warn(
            f"The tokenizer gives {tokens} ids, but the model's table has {rows} rows: texts with the ids "
            f"{', '.join(named)}{more} will be refused. If tokens were added after the training, "
            "model.resize_token_embeddings(len(tokenizer)) makes rows for them, which then need training.",
            stacklevel=3,
        )

    @property
    def per_token(self) -> bool:
        """Whether the output is one vector a token."""
        manifest = self.program.manifest
        return LENGTH_DIM in manifest.outputs[0].shape

    def rows(self, inputs: Any) -> Rows:
        """Checked rows of arrays that a caller hands in.

        Raises:
            InputError: A name, dtype, shape, value or length does not fit; the message names the rows.
        """
        if self._read is None:  # two threads may both make it; either serves
            manifest = self.program.manifest
            self._read = reader(manifest.inputs, rules=manifest.rules, buckets=manifest.shapes)
        return self._read(inputs)

    def run(
        self,
        rows: Rows,
        devices: Sequence[int] | None = None,
        progress: Callable[[int], None] | None = None,
        record: Callable[[Arrays, Arrays], None] | None = None,
        *,
        numbers: Sequence[int] | None = None,
    ) -> Arrays:
        """Rows in, arrays out, in order; see :meth:`QEfficient.runtime.run.RowRunner.run`.

        Args:
            rows: Checked rows.
            devices: Devices of the card.
            progress: As :class:`QEfficient.runtime.run.How` has it.
            record: Called after each batch with the arrays as the program itself has them, padding and all.
            numbers: What to call each row in an error; left out, its place.

        Raises:
            NumericsError: NaN or Inf; names the rows, and the layer that they start in.
        """
        runner, user = self._lend(devices)
        try:
            if progress is not None or record is not None:
                recorded = None if record is None else as_carried(runner.session, record)
                runner = RowRunner(runner.session, self._how(progress, recorded))
            return runner.run(rows, numbers)
        finally:
            self._take_back(user)

    @contextmanager
    def stream(
        self,
        source: Source,
        prepare: Prepare[W],
        devices: Sequence[int] | None = None,
        progress: Callable[[int], None] | None = None,
        *,
        partial: bool = False,
    ) -> Iterator[Stream[W]]:
        """Items in, windows of them with their arrays out, in order; see :class:`QEfficient.runtime.stream.Stream`."""
        with (
            self.session(devices) as session,
            Stream(session, source, prepare, self._how(progress), partial=partial) as stream,
        ):
            yield stream

    def _how(
        self,
        progress: Callable[[int], None] | None = None,
        record: Callable[[Arrays, Arrays], None] | None = None,
    ) -> How:
        rules = self.program.manifest.rules
        return How(
            rules.fill(self.program.manifest.text),
            rules.pads,
            rules.frames,
            progress,
            record,
            explain=None if self._explain is None else partial(self._explain, self.program),
            counter=self.work,
            tables=self.tables,
        )

    def report(self) -> dict[str, Json]:
        """Where the program runs, why there, and whether what is best on this machine was measured or guessed.

        Of a model that was trained or made smaller here also by what, on which rows, and what it scored before and
        after.
        """
        manifest = self.program.manifest
        # What was measured after the session was opened counts for the next one.
        tuned = self._tuning if self._session is not None else self._tuning or remembered(self.program, self.backend)
        return {
            "backend": self.backend.name,
            "reason": self.reason,
            "compute": manifest.target.compute,
            "buckets": [bucket.sizes for bucket in manifest.shapes],
            "program": str(self.program.path),
            "verify": dict(manifest.verify),
            **{name: copy.deepcopy(manifest.key[name]) for name in ("trained", "compressed") if name in manifest.key},
            **({"int8": dict(manifest.int8)} if manifest.int8 else {}),
            **({"weights": dict(manifest.weights)} if manifest.weights else {}),
            "tuning": {"measured": False} if tuned is None else {"measured": True, **dataclasses.asdict(tuned)},
            "session": None if self._session is None else self._session.report(),
            "work": dataclasses.asdict(self.work.total) | {"efficiency": self.work.total.efficiency},
        }

    def retire(self) -> None:
        """Closes the session as soon as nobody uses it: another program takes this one's place, and maybe its cores."""
        with self._lock:
            self._retired = True
            if not self._users:
                self._close()

    def close(self) -> None:
        """Closes the session once nobody uses it; the next call opens it again."""
        with self._changed:
            self._wait(lambda: False)
            self._close()

    def _wait(self, enough: Callable[[], bool]) -> None:
        """Waits, with the lock held, until nobody uses the session or it will do as it is."""
        if threading.get_ident() in self._users and not enough():
            raise UsageError(
                "An iterator of encode_iter in this thread uses the open session; to wait for it would never end.",
                got="close(), or a call with other device_ids, between two of its vectors",
                allowed="calls on the same devices",
                do="use the iterator up or call its close() first",
            )
        self._changed.wait_for(lambda: not self._users or enough())


def _token(loaded: weakref.ref[LoadedProgram], token_id: int) -> str | None:
    alive = loaded()
    return None if alive is None else alive.token(token_id)
