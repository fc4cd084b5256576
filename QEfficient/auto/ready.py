"""A compiled program that is ready to answer: opened, and its tokenizer read, on first use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from QEfficient.backends.base import Arrays, Backend, Session
from QEfficient.errors import UsageError
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
        self._sessions: dict[tuple[int, ...] | None, Session] = {}
        self._tokenizer: Tokenizer | None = None
        self._lock = threading.Lock()

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

    def session(self, devices: Sequence[int] | None = None) -> Session:
        """The session on these devices, opened once."""
        key = None if devices is None else tuple(devices)
        session = self._sessions.get(key)
        if session is None:
            with self._lock:
                session = self._sessions.get(key)
                if session is None:
                    session = self.backend.open(self.program, devices, strict=self.strict)
                    self._sessions[key] = session
        return session

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
            with self._lock:
                if self._tokenizer is None:
                    self._tokenizer = Tokenizer.from_folder(self.program.path, self.text)
        return self._tokenizer

    @property
    def per_token(self) -> bool:
        """Whether the output is one vector a token."""
        manifest = self.program.manifest
        return manifest.buckets[0].length_dim in manifest.outputs[0].shape

    def run(
        self, rows: Rows, devices: Sequence[int] | None = None, progress: Callable[[int], None] | None = None
    ) -> Arrays:
        """Rows in, arrays out, in order."""
        text = self.program.manifest.text
        fill = {"input_ids": text.pad_id, "token_type_ids": text.pad_type_id} if text else {}
        return run(self.session(devices), rows, fill=fill, progress=progress)

    def report(self) -> dict[str, Json]:
        """Where the program runs, and why there."""
        manifest = self.program.manifest
        sessions = [session.report() for session in self._sessions.values()]
        return {
            "backend": self.backend.name,
            "reason": self.reason,
            "compute": manifest.target.compute,
            "buckets": [bucket.sizes for bucket in manifest.buckets],
            "program": str(self.program.path),
            "verify": dict(manifest.verify),
            "sessions": sessions,
        }

    def close(self) -> None:
        """Closes every session."""
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.close()
