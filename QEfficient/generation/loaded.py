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
from QEfficient.backends.base import Backend, Retaining, Session
from QEfficient.backends.card_options import MXINT8
from QEfficient.backends.retained import state_pairs
from QEfficient.errors import UsageError
from QEfficient.generation.engine import Engine
from QEfficient.generation.schedule import CARD_TOKEN, HOST_TOKEN, EngineSettings
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.generation.two_sided import TwoSidedTokenizer
from QEfficient.inference.session_handle import SessionHandle
from QEfficient.records import DecoderFacts, Json, Manifest, Program, Shape, TextFacts
from QEfficient.text.tokenizer import Tokenizer

GENERATION_FILE = "generation_config.json"
NO_LIMIT = 10**9  # tokens: a prompt that does not fit is refused, never cut
_KEPT_BYTES = {"fp16": 2.0, "fp32": 4.0}


class LoadedGenerator:
    """Program, backend, and the engine that was opened for them. Safe from many threads.

    Args:
        program: The loaded program.
        backend: Opens it.
        reason: Why this backend was chosen, for ``device_report()``.
        strict: Take only the compiled shapes, as a card does.
    """

    def __init__(self, program: Program, backend: Backend, reason: str, *, strict: bool = False) -> None:
        self.program, self.backend, self.reason, self.strict = program, backend, reason, strict
        self._tokenizer: Tokenizer | None = None
        self._two_sides: TwoSidedTokenizer | None = None
        self._begin()
        fork.in_child(self._begin)

    def _begin(self) -> None:
        """State that belongs to one process: a forked child opens the program anew."""
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._engine: Engine | None = None
        self._devices: tuple[int, ...] | None = None

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
    def two_sides(self) -> TwoSidedTokenizer:
        """The tokenizer of a program that reads one text and writes another; it shortens nothing.

        Raises:
            LoadError: It has none that works without transformers; the message says why.
        """
        if self._two_sides is None:
            self._two_sides = TwoSidedTokenizer.from_folder(self.program.path, self.text)
        return self._two_sides

    @property
    def generation_config(self) -> dict[str, Json]:
        """How the repo says that text is written: its ``generation_config.json``, with the names that it has there."""
        return hub.read_object(self.program.path / GENERATION_FILE, missing_ok=True)

    @property
    def config(self) -> dict[str, Json]:
        """The model's config."""
        return hub.read_config(self.program.path)

    # ------------------------------------------------------------------------------------ run

    def engine(self, devices: Sequence[int] | None = None) -> Engine:
        """The engine over the program's slots: opened once, for all who write text with it, and kept.

        Args:
            devices: Of the card; ``None``: whichever the runtime chooses.

        Raises:
            UsageError: It is writing text on other devices.
        """
        wanted = None if devices is None else device_ids(devices)
        with self._lock:
            if self._engine is not None and wanted != self._devices and self._is_busy():
                raise UsageError(
                    "The program is writing text on other devices.",
                    got=f"device_ids={wanted}",
                    allowed=f"device_ids={self._devices}, as long as it does",
                    do="wait until that has ended, or leave device_ids out",
                )
            if self._engine is None or wanted != self._devices:
                self._close()
                self._session = self.backend.open(self.program, devices, strict=self.strict)
                decoder = SessionDecoder(self._session, self.facts)
                self._engine, self._devices = Engine(decoder, self._shared_how()), wanted
            return self._engine

    def _shared_how(self) -> EngineSettings:
        """No prompt goes on from a copy of another's slot where caches can't be copied, or only through the host.

        In MXINT8 nobody can. A card's go there and back whole, which takes longer than to read the prompt again.
        Where shapes are fixed, rows are run as wide as the program was compiled, whatever is in them: more tokens cost
        next to nothing.
        """
        manifest = self.program.manifest
        copied = manifest.target.backend != "qaic" and not manifest.options.flags.get(MXINT8)
        fixed = self._session is not None and self._session.fixed_shapes
        found = EngineSettings(token_cost=CARD_TOKEN if fixed else HOST_TOKEN)
        return found if copied else dataclasses.replace(found, copy_saves=None)

    def handed_out(self) -> SessionHandle:
        """A session of the caller's own, with slots of its own.

        A device has its cores for one program: the engine's session is closed for it, and the next text that is written
        closes this one.

        Raises:
            UsageError: Text is being written.
        """
        with self._lock:
            if self._is_busy():
                raise UsageError(
                    "The program is writing text, so its session is not free.",
                    got="qpc_session while text is written",
                    allowed="qpc_session before or after",
                    do="wait until that has ended",
                )
            self._close()
            self._session = self.backend.open(self.program, self._devices, strict=self.strict)
            return SessionHandle(self._session, self._leased, self._close_this)

    def _is_busy(self) -> bool:
        counts = None if self._engine is None else self._engine.counts()
        return counts is not None and bool(counts.waiting or counts.running)

    @contextmanager
    def _leased(self, session: Session) -> Iterator[None]:
        with self._lock:
            if session is not self._session:
                raise UsageError(
                    "This session of qpc_session is closed.",
                    got="a run after compile(), close(), or after text was written",
                    allowed="the session that is open now",
                    do="take model.qpc_session anew",
                )
            yield

    def _close_this(self, session: Session) -> None:
        with self._lock:
            if session is self._session:
                self._close()

    def _close(self) -> None:
        engine, session = self._engine, self._session
        self._engine = self._session = None
        if engine is not None:
            engine.close()
        elif session is not None:
            session.close()

    def retire(self) -> None:
        """Closes the program: another takes its place, and maybe its cores. What is being written ends so far."""
        self.close()

    def close(self) -> None:
        """Closes the program; what is being written ends so far. The next call opens it again, with empty slots."""
        with self._lock:
            self._close()

    @property
    def cache_bytes(self) -> int:
        """Bytes of all caches, the scratch slot's with them: of the open session, else as they are reckoned."""
        return self._session.bytes_held if isinstance(self._session, Retaining) else cache_bytes(self.program.manifest)

    def report(self) -> dict[str, Json]:
        """Where the program runs, why there, what it is compiled for and what its caches take."""
        manifest = self.program.manifest
        return {
            "backend": self.backend.name,
            "reason": self.reason,
            "compute": manifest.target.compute,
            "decoder": dataclasses.asdict(self.facts),
            "cache_bytes": self.cache_bytes,
            "shapes": [shape.sizes for shape in manifest.shapes],
            "program": str(self.program.path),
            "verify": dict(manifest.verify),
            **({"weights": copy.deepcopy(dict(manifest.weights))} if manifest.weights else {}),
            **{name: copy.deepcopy(manifest.key[name]) for name in ("trained", "compressed") if name in manifest.key},
            "session": None if self._session is None else self._session.report(),
            "work": None if self._engine is None else dataclasses.asdict(self._engine.counts()),
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
