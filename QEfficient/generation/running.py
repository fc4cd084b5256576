"""A request that has slots: its sequences, and how they branch where beams do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import UsageError
from QEfficient.generation.requests import Ticket
from QEfficient.generation.strategy import NextTokens


@dataclass(frozen=True, slots=True, eq=False)
class Behind:
    """What a run gave for a sequence.

    Attributes:
        logits: Those behind its last token and behind each drafted one, ``(1 + drafted, vocabulary)``.
        drafted: Tokens that were run behind the last one, before any was chosen.
    """

    logits: NDArray[np.float32]
    drafted: tuple[int, ...] = ()

    def after(self, token: int) -> Behind | None:
        """What is left of it where ``token`` was chosen: ``None`` where that was not drafted."""
        if self.drafted[:1] != (token,):
            return None
        return Behind(self.logits[1:], self.drafted[1:])


@dataclass(slots=True, eq=False)
class SlotSequence:
    """One sequence and its slot.

    Attributes:
        ids: Prompt and new tokens: what the slot has to hold before the next token can be chosen.
        slot: Which.
        turn: When it was last decoded, or begun, by count: who waits longest comes first.
        begun: Whether the slot's table says of how many of its tokens this sequence goes on from.
        behind: What a run gave behind its last token, once it is there.
    """

    ids: list[int]
    slot: int
    turn: int
    begun: bool = False
    behind: Behind | None = None


@dataclass(slots=True, eq=False)
class Running:
    """A request that has slots.

    Attributes:
        ticket: Whose it is.
        slots: All it owns, as many as its strategy may need.
        sequences: Those of its next step; each has a slot of these.
        limit: New tokens that there is room for, or that are wanted.
        chosen: New tokens so far.
        choosing: Whether its strategy is at work. Where an interrupt left it so, nobody knows what it chose.
    """

    ticket: Ticket
    slots: tuple[int, ...]
    sequences: list[SlotSequence]
    limit: int
    chosen: int = 0
    choosing: bool = False

    def logits(self) -> NDArray[np.float32] | None:
        """Those behind each sequence's last token, ``(sequences, vocabulary)``; ``None`` while one is missing."""
        found = [sequence.behind.logits[:1] for sequence in self.sequences if sequence.behind is not None]
        if len(found) < len(self.sequences):
            return None
        return found[0] if len(found) == 1 else np.concatenate(found)

    def drafted(self, tokens: NextTokens) -> bool:
        """Whether what was chosen is what was drafted."""
        behind = self.sequences[0].behind
        return behind is not None and behind.drafted[:1] == tokens.tokens[:1] != ()


def check(tokens: NextTokens, before: int, rows: int) -> None:
    """Refuses what no step can follow from.

    Args:
        tokens: What a strategy chose.
        before: Sequences of the step that it chose from.
        rows: Slots that it may have.

    Raises:
        UsageError: The strategy's fault.
    """
    parents = tokens.parents
    fits = len(parents) == len(tokens.tokens) and all(0 <= parent < before for parent in parents)
    if tokens.done is None and not (fits and 1 <= len(parents) <= rows):
        raise UsageError(
            "A strategy chose what can't be decoded next.",
            got=tokens,
            allowed=f"1 to {rows} tokens, each with a parent from 0 to {before - 1}",
            do="correct the strategy",
        )


def branch(request: Running, tokens: NextTokens, turn: int) -> tuple[list[SlotSequence], list[tuple[int, int]]]:
    """The sequences of the next step, and the copies (source slot, target slot) that they need.

    The first that goes on from a parent stays in the parent's slot, so there are as few copies as can be, and none
    overwrites what another reads: targets are slots that no sequence goes on from.

    Args:
        request: Whose.
        tokens: What was chosen.
        turn: The step's number.
    """
    before = request.sequences
    if len(before) == 1 == len(tokens.tokens):
        only, token = before[0], tokens.tokens[0]
        only.ids.append(token)
        only.behind, only.turn = only.behind and only.behind.after(token), turn
        return before, []
    staying = {before[parent].slot for parent in tokens.parents}
    spare = [slot for slot in request.slots if slot not in staying]
    after: list[SlotSequence] = []
    copies: list[tuple[int, int]] = []
    for parent, token in zip(tokens.parents, tokens.tokens, strict=True):
        slot = source = before[parent].slot
        if source in staying:
            staying.remove(source)
        else:
            slot = spare.pop(0)
            copies.append((source, slot))
        after.append(SlotSequence([*before[parent].ids, token], slot, turn, begun=True))
    return after, copies
