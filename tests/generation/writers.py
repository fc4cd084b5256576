"""Tiny models of all types through their class, and how what they write is held to transformers'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from QEfficient import QEFFAutoModelForCausalLM
from tests.generation.tiny_decoders import WINDOW, greedy, own_logits

CTX, NEW, SLOTS, ROWS = 96, 16, 3, 2
SPREAD = 0.2
"""Of the weights: torch's own float16 then differs from its float32 by at most 0.03 in logits of 5."""
LENGTHS = (45, 9, 1, 27, 33)


def prompts(seed: int = 0) -> list[list[int]]:
    """More of them than there are rows, of mixed lengths, some longer than any window."""
    assert max(LENGTHS) > 5 * WINDOW and len(LENGTHS) > SLOTS > ROWS
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, length).tolist() for length in LENGTHS]


@dataclass(frozen=True)
class Reference:
    """What transformers writes behind :func:`prompts`, and its logits behind each of these tokens' predecessors.

    Attributes:
        tokens: For each prompt :data:`NEW` of them; the end token is none of them.
        logits: For each prompt ``(NEW, vocabulary)``.
    """

    tokens: list[list[int]]
    logits: list[np.ndarray]

    @classmethod
    def of(cls, model: Any) -> Reference:
        tokens = [greedy(model, prompt, NEW) for prompt in prompts()]
        each = zip(prompts(), tokens, strict=True)
        return cls(tokens, [own_logits(model, [*prompt, *new])[len(prompt) - 1 : -1] for prompt, new in each])


def compiled(repo: Path, *, slots: bool = True, **keywords: Any) -> QEFFAutoModelForCausalLM:
    """A program of either form with few rows. What it writes is compared by the test, so compile does not."""
    made = QEFFAutoModelForCausalLM.from_pretrained(repo, continuous_batching=slots)
    rows = {"full_batch_size": SLOTS} if slots else {"batch_size": ROWS}
    made.compile(ctx_len=CTX, verify="off", **{**rows, **keywords})
    return made


def check(
    model: QEFFAutoModelForCausalLM, reference: Reference, *, gap: float, atol: float, routed: bool = False
) -> list[int]:
    """Writes behind all prompts at once.

    Args:
        model: Compiled.
        reference: transformers' side.
        gap: A token may differ where transformers' two best logits are nearer than this.
        atol: How far logits may be apart, as long as the tokens before them are equal.
        routed: Rounding may send a token to other experts where two are near: from such a step on nothing is compared.

    Returns:
        How many tokens of each prompt are equal before the first that differs, or before such a step.
    """
    wanted = {"max_new_tokens": NEW, "min_new_tokens": NEW, "output_logits": True, "return_dict_in_generate": True}
    out = model.generate(prompts(), **wanted)
    found = out.sequences[:, max(LENGTHS) :].tolist()
    if routed:
        found = [tokens[: _rerouted(row, out.logits, reference, atol)] for row, tokens in enumerate(found)]
    return [_first_difference(row, out.logits, found[row], reference, gap, atol) for row in range(len(found))]


def _rerouted(row: int, logits: Sequence[np.ndarray], reference: Reference, atol: float) -> int:
    """The first step whose logits are off by more than rounding makes them."""
    errors = [np.abs(ours[row] - theirs).max() for ours, theirs in zip(logits, reference.logits[row], strict=True)]
    return next((step for step, error in enumerate(errors) if error > atol), NEW)


def _first_difference(
    row: int, logits: Sequence[np.ndarray], tokens: list[int], reference: Reference, gap: float, atol: float
) -> int:
    for step, (ours, theirs) in enumerate(zip(tokens, reference.tokens[row], strict=False)):
        expected = reference.logits[row][step]
        np.testing.assert_allclose(logits[step][row], expected, rtol=0, atol=atol, err_msg=f"row {row}, step {step}")
        if ours != theirs:
            assert expected[theirs] - expected[ours] < gap, (row, step, ours, theirs)
            return step
    return len(tokens)
