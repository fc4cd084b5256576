"""What everybody writes: prompts of ids, and how many new tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """Prompts that are handed in at once.

    Attributes:
        title: In a few words.
        lengths: Tokens of each prompt.
        new: Tokens that are written behind each.
    """

    title: str
    lengths: tuple[int, ...]
    new: int


CASES = {
    "A": Case("one prompt of 40 tokens, 128 new", (40,), 128),
    "B": Case("one prompt of 900 tokens, 16 new", (900,), 16),
    "C": Case("eight prompts of 10 to 200 tokens, 64 new each", (10, 24, 40, 66, 90, 120, 160, 200), 64),
}

OTHERS = ((4,) * 8, 4)
"""Lengths of prompts that everybody goes on with before each turn, off the clock, and how far: no cache holds a prompt
of the turn then."""


def prompts(lengths: Sequence[int], skipped: int = 0) -> list[list[int]]:
    """Ids of so many tokens each, out of real texts, each from another place; the first places are skipped."""
    from transformers import AutoTokenizer

    from tests import smollm2

    tokenizer = AutoTokenizer.from_pretrained(smollm2.folder())
    words = tokenizer(" ".join(talk[-1]["content"] for talk in smollm2.conversations()))["input_ids"]
    return [words[1000 * place : 1000 * place + length] for place, length in enumerate(lengths, skipped)]
