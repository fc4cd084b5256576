"""A compiled program that is ready to answer: opened, and its tokenizer read, on first use."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from QEfficient.backends.base import Arrays, Backend, Session
from QEfficient.backends.feed import device_ids
from QEfficient.errors import NumericsError, UsageError
from QEfficient.records import Json, Program, Rows, TextFacts
from QEfficient.runtime.run import run
from QEfficient.text.tokenizer import Tokenizer


class Ready:
    """Program, backend and whatever was opened for them. Safe from many threads.

    Args:
        program: The loaded program.
        backend: Opens it.
        reason: Why this backend was chosen, for ``device_report()``.
        strict: Take only the compiled shapes, as a card does.
    """

    def __init__(self, program: Program, backend: Backend, reason: str, *, strict: bool = False) -> None:
        self.program, self.backend, self.reason, self.strict = program, backend, reason, strict
        self._session: Session | None = None
        self._devices: tuple[int, ...] | None = None
        self._tokenizer: Tokenizer | None = None
        self._retired = False
        self._begin()

    def _begin(self) -> None:
        """State that belongs to one process: a forked child starts with nobody using the session."""
        self._pid = os.getpid()
        self._users = 0
        self._changed = threading.Condition()

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
        longest = max(self.text.max_length, self.program.manifest.buckets[-1].length)
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
        """
        if os.getpid() != self._pid:
            self._begin()
        wanted = None if devices is None else device_ids(devices)
        with self._changed:
            self._changed.wait_for(lambda: not self._users or self._devices == wanted)
            if self._session is None or self._devices != wanted:
                self._close()
                self._session = self.backend.open(self.program, devices, strict=self.strict)
                self._devices = wanted
            session = self._session
            self._users += 1
        try:
            yield session
        finally:
            with self._changed:
                self._users -= 1
                if self._retired and not self._users:
                    self._close()
                self._changed.notify_all()

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

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
            longest = max(self.text.max_length, self.program.manifest.buckets[-1].length)
            facts = dataclasses.replace(self.text, max_length=longest)  # a caller may raise max_seq_length that far
            self._tokenizer = Tokenizer.from_folder(self.program.path, facts)
        return self._tokenizer

    @property
    def per_token(self) -> bool:
        """Whether the output is one vector a token."""
        manifest = self.program.manifest
        return manifest.buckets[0].length_dim in manifest.outputs[0].shape

    def run(
        self,
        rows: Rows,
        devices: Sequence[int] | None = None,
        progress: Callable[[int], None] | None = None,
        record: Callable[[Arrays, Arrays], None] | None = None,
    ) -> Arrays:
        """Rows in, arrays out, in order; see :func:`QEfficient.runtime.run.run`.

        Raises:
            NumericsError: NaN or Inf; names the rows, and the layer that they start in.
        """
        text, model = self.program.manifest.text, self.program.manifest.model
        fill = {"input_ids": text.pad_id, "token_type_ids": text.pad_type_id} if text else {}
        pads, frames = (model.pads, model.frames) if model else (True, ())
        try:
            with self.session(devices) as session:
                return run(session, rows, fill=fill, pads=pads, frames=frames, progress=progress, record=record)
        except NumericsError as error:
            from QEfficient.auto.verification import located  # imports onnx, which a run must not need

            raise located(error, self, rows) from error

    def report(self) -> dict[str, Json]:
        """Where the program runs, and why there."""
        manifest = self.program.manifest
        return {
            "backend": self.backend.name,
            "reason": self.reason,
            "compute": manifest.target.compute,
            "buckets": [bucket.sizes for bucket in manifest.buckets],
            "program": str(self.program.path),
            "verify": dict(manifest.verify),
            "session": None if self._session is None else self._session.report(),
        }

    def retire(self) -> None:
        """Closes the session as soon as nobody uses it: another program takes this one's place, and maybe its cores."""
        with self._changed:
            self._retired = True
            if not self._users:
                self._close()

    def close(self) -> None:
        """Closes the session once nobody uses it; the next call opens it again."""
        with self._changed:
            self._changed.wait_for(lambda: not self._users)
            self._close()
