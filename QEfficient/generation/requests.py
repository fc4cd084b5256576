"""What is asked of the engine, and what whoever asked holds in hand until it is answered."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from QEfficient.errors import InputError
from QEfficient.generation.prompt_lookup import Drafter
from QEfficient.generation.strategy import Answer, Reason, Strategy
from QEfficient.records import DecoderFacts


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt that is to be gone on with.

    Attributes:
        ids: The prompt's tokens, one or more.
        strategy: Chooses the new ones. It belongs to this request alone.
        wanted: New tokens at most; ``None``: as many as there is room for.
        deadline: Where the engine's clock (``time.monotonic``, seconds) has passed it, the request ends.
        patient: Nobody looks at its tokens before its end, so prompts of others may run first: then more rows share
            each decode step.
        space: What the caches depend on beside the ids, such as an adapter. What a slot holds is reused only where
            this is equal too.
        drafter: Guesses tokens ahead, of a strategy of one row; ``None``: nobody does.
        source: Of a model with an encoder, the ids that it reads; the prompt is then what its decoder begins with.
    """

    ids: tuple[int, ...]
    strategy: Strategy
    wanted: int | None = None
    deadline: float | None = None
    patient: bool = False
    space: Hashable = None
    drafter: Drafter | None = None
    source: tuple[int, ...] = ()

    @property
    def whole_space(self) -> Hashable:
        """All that the caches depend on beside the ids."""
        return (self.space, self.source) if self.source else self.space

    def check(self, facts: DecoderFacts) -> None:
        """Refuses what this program can't write, before anything runs.

        Raises:
            InputError: No prompt, a source that does not fit, nothing wanted, longer than there is room for, or more
                rows than slots.
        """
        if not self.ids:
            what, do = "The prompt has no tokens.", "begin with the tokenizer's BOS token where there is no text"
            raise InputError(what, got="0 tokens", allowed="one token or more", do=do)
        self._check_source(facts)
        if self.wanted is not None and self.wanted < 1:
            raise InputError("No new token is wanted.", got=self.wanted, allowed="1 or more", do="ask for at least one")
        if not 1 <= self.strategy.rows <= facts.cache_slots:
            raise InputError(
                "The program has fewer slots than this request needs beside each other.",
                got=f"{self.strategy.rows} rows",
                allowed=f"1 to {facts.cache_slots}",
                do="ask for fewer beams, or compile with a larger kv_cache_batch_size",
            )
        if self.drafter is not None and self.strategy.rows > 1:
            raise InputError(
                "Tokens are drafted for one sequence, and this request follows several.",
                got=f"{self.strategy.rows} rows and a drafter",
                allowed="one row",
                do="leave the drafter out",
            )
        wanted = 1 if self.wanted is None else self.wanted
        if len(self.ids) + wanted > facts.room:
            raise InputError(
                "The prompt and what is wanted after it are longer than the program's context.",
                got=f"{len(self.ids)} tokens of the prompt + {wanted} new = {len(self.ids) + wanted}",
                allowed=f"{facts.room} together",
                do="shorten the prompt, want fewer tokens, or compile with a larger ctx_len",
            )

    def _check_source(self, facts: DecoderFacts) -> None:
        if not facts.has_encoder and self.source:
            raise InputError(
                "The program has no encoder to read a source.",
                got=f"{len(self.source)} tokens",
                allowed="a prompt alone",
                do="put what it is to read into the prompt",
            )
        if facts.has_encoder and not 1 <= len(self.source) <= facts.source_room:
            raise InputError(
                "The source does not fit the program's encoder.",
                got=f"{len(self.source)} tokens",
                allowed=f"1 to {facts.source_room}",
                do="shorten it, or cut it in parts, or compile with a larger encoder_ctx_len",
            )


@dataclass(slots=True, eq=False)
class Ticket:
    """A request on its way: what was written so far, then how it ended. Read it from any thread; the engine writes it.

    Attributes:
        request: What was asked.
        tokens: The new tokens so far, of a request of one row; of several rows nothing is settled before the end.
        done: Whether it has ended: then either ``reason`` or ``error`` is there.
        reason: Why it ended: ``"cancelled"`` past its deadline too.
        answers: What was written; of a cancelled request, so far.
        error: Why it failed instead.
        expired: Whether its deadline ended it.
        cancelled: Whether it is to end, or was ended, by ``Engine.cancel``.
        submitted, admitted, first, ended: When, on the engine's clock in seconds: asked; given slots; its first token
            chosen; ended. ``None``: not yet.
        reused, prefilled, decoded: Tokens of the prompt that a slot held already; that were run as a prompt; that
            were run in decode steps, of all its rows.
        drafted, accepted: Tokens that were run beside these before any was chosen, and those of them that were chosen.
        lost: How many times a failure of the device lost what its slots held.
    """

    request: Request
    submitted: float
    tokens: list[int] = field(default_factory=list)
    done: bool = False
    reason: Reason | None = None
    answers: tuple[Answer, ...] = ()
    error: Exception | None = None
    expired: bool = False
    cancelled: bool = False
    admitted: float | None = None
    first: float | None = None
    ended: float | None = None
    reused: int = 0
    prefilled: int = 0
    decoded: int = 0
    drafted: int = 0
    accepted: int = 0
    lost: int = 0

    def end(self, reason: Reason, answers: tuple[Answer, ...], now: float) -> None:
        """The engine's: it ended."""
        self.reason, self.answers, self.ended = reason, answers, now
        self.done = True  # last: another thread may be looking

    def fail(self, error: Exception, now: float) -> None:
        """The engine's: it failed."""
        self.error, self.ended = error, now
        self.done = True

    def result(self) -> tuple[Answer, ...]:
        """The answers of a request that has ended.

        Raises:
            Exception: What it failed with.
        """
        if self.error is not None:
            raise self.error
        return self.answers
