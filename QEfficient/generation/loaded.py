"""A compiled program that writes text: opened, and its files read, on first use. No torch, no transformers."""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from QEfficient import fork, hub
from QEfficient.arguments import device_ids
from QEfficient.backends.base import Backend, Session
from QEfficient.backends.card_options import MXINT8
from QEfficient.backends.retained import state_pairs
from QEfficient.errors import UsageError
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.inference.session_handle import SessionHandle
from QEfficient.records import DecoderFacts, Json, Manifest, Program, Shape, TextFacts
from QEfficient.text.tokenizer import Tokenizer

GENERATION_FILE = "generation_config.json"
NO_LIMIT = 10**9  # tokens: a prompt that does not fit is refused, never cut
_KEPT_BYTES = {"fp16": 2.0, "fp32": 4.0}


class LoadedGenerator:
    """Program, backend, and the decoder that was opened for them. One owner runs it at a time.

    Args:
        program: The loaded program.
        backend: Opens it.
        reason: Why this backend was chosen, for ``device_report()``.
        strict: Take only the compiled shapes, as a card does.
    """

    def __init__(self, program: Program, backend: Backend, reason: str, *, strict: bool = False) -> None:
        self.program, self.backend, self.reason, self.strict = program, backend, reason, strict
        self._tokenizer: Tokenizer | None = None
        self._begin()
        fork.in_child(self._begin)

    def _begin(self) -> None:
        """State that belongs to one process: a forked child opens the program anew."""
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._decoder: SessionDecoder | None = None
        self._devices: tuple[int, ...] | None = None
        self._users = 0
        self._retired = False

    def again(self) -> LoadedGenerator:
        """The same program with a session of its own."""
        return LoadedGenerator(self.program, self.backend, self.reason, strict=self.strict)

    # ------------------------------------------------------------------------------------ what it is

    @property
    def facts(self) -> DecoderFacts:
        """What it is compiled for.

        Raises:
            UsageError: It is no program that writes text.
        """
        found = self.program.manifest.decoder
        if found is None:
            raise UsageError(
                "This program writes no text.",
                got=str(self.program.path),
                allowed="a program that QEFFAutoModelForCausalLM compiled",
                do="load it with the class of its task",
            )
        return found

    @property
    def text(self) -> TextFacts:
        """The program's text facts; its tokenizer shortens nothing."""
        facts = self.program.manifest.text or TextFacts(tokenizer=None, max_length=NO_LIMIT)
        return dataclasses.replace(facts, max_length=NO_LIMIT)

    @property
    def tokenizer(self) -> Tokenizer:
        """The program's own tokenizer, which shortens nothing.

        Raises:
            LoadError: It has none that works without transformers.
        """
        if self._tokenizer is None:  # two threads may both read it; either copy serves
            self._tokenizer = Tokenizer.from_folder(self.program.path, self.text)
        return self._tokenizer

    @property
    def generation_config(self) -> dict[str, Json]:
        """How the repo says that text is written: its ``generation_config.json``, with the names that it has there."""
        return hub.read_object(self.program.path / GENERATION_FILE, missing_ok=True)

    @property
    def config(self) -> dict[str, Json]:
        """The model's config."""
        return hub.read_config(self.program.path)

    # ------------------------------------------------------------------------------------ run

    @contextmanager
    def decoder(self, devices: Sequence[int] | None = None) -> Iterator[SessionDecoder]:
        """Lends the decoder on these devices, to one thread at a time; its slots hold what the last owner left there.

        It is opened once and kept. Other devices than the last owner's close it first.

        Args:
            devices: Of the card; ``None``: whichever the runtime chooses.
        """
        with self._lock:
            decoder = self._opened(devices)
            self._users += 1
            try:
                yield decoder
            finally:
                self._users -= 1
                if self._retired and not self._users:
                    self._close()

    def _opened(self, devices: Sequence[int] | None) -> SessionDecoder:
        wanted = None if devices is None else device_ids(devices)
        if self._decoder is None or wanted != self._devices:
            if self._users:
                raise UsageError(
                    "The program is in use on other devices, by this very thread.",
                    got=f"devices {wanted} while those in use are {self._devices}",
                    allowed="the same devices",
                    do="end what is being written first, or leave device_ids out",
                )
            self._close()
            session = self.backend.open(self.program, devices, strict=self.strict)
            self._session, self._decoder, self._devices = session, SessionDecoder(session, self.facts), wanted
        return self._decoder

    def handed_out(self) -> SessionHandle:
        """The open session, or one opened now, for somebody who may keep it longer than it stays open."""
        with self.decoder(self._devices) as _:
            session = self._session
            assert session is not None  # it is that of the decoder
            return SessionHandle(session, self._leased, self._close_this)

    @contextmanager
    def _leased(self, session: Session) -> Iterator[None]:
        with self._lock:
            if session is not self._session:
                raise UsageError(
                    "This session of qpc_session is closed.",
                    got="a run after compile(), close(), or a call with other device_ids",
                    allowed="the session that is open now",
                    do="take model.qpc_session anew",
                )
            yield

    def _close_this(self, session: Session) -> None:
        with self._lock:
            if session is self._session:
                self._close()

    def _close(self) -> None:
        decoder, self._decoder, self._session = self._decoder, None, None
        if decoder is not None:
            decoder.close()

    def retire(self) -> None:
        """Closes the program once nobody uses it: another takes its place, and maybe its cores."""
        with self._lock:
            self._retired = True
            if not self._users:
                self._close()

    def close(self) -> None:
        """Closes the program once nobody else uses it; the next call opens it again, with empty slots."""
        with self._lock:
            if self._users:
                raise UsageError(
                    "The program is in use by this very thread.",
                    got="close() while text is being written",
                    allowed="close() behind it",
                    do="end what is being written first",
                )
            self._close()

    def report(self) -> dict[str, Json]:
        """Where the program runs, why there, what it is compiled for and what its caches take."""
        manifest = self.program.manifest
        return {
            "backend": self.backend.name,
            "reason": self.reason,
            "compute": manifest.target.compute,
            "decoder": dataclasses.asdict(self.facts),
            "cache_bytes": cache_bytes(manifest) if self._decoder is None else self._decoder.bytes_held,
            "shapes": [shape.sizes for shape in manifest.shapes],
            "program": str(self.program.path),
            "verify": dict(manifest.verify),
            **{name: copy.deepcopy(manifest.key[name]) for name in ("trained", "compressed") if name in manifest.key},
            "session": None if self._session is None else self._session.report(),
        }


def cache_bytes(manifest: Manifest) -> int:
    """Bytes of all caches of a program, the scratch slot's with them.

    Of fp32 four a number, of fp16 two, of MXINT8 one and a thirty-second: the OCP microscaling formats share an
    exponent among 32 numbers. How a card packs it is not documented.
    """
    sizes, largest = 0, Shape.largest(manifest.shapes)
    states = state_pairs(manifest.inputs, manifest.outputs)
    for spec in manifest.inputs:
        if spec.name in states:
            sizes += int(np.prod(spec.at(largest)))
    number = 1 + 1 / 32 if manifest.options.flags.get(MXINT8) else _KEPT_BYTES.get(manifest.target.compute, 4.0)
    return int(sizes * number)
