"""HuggingFace's own decoder: how it goes on with texts. Imported only where torch is at work anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from QEfficient.build.tokenizer import model_tokenizer
from QEfficient.export.isolated import isolated
from QEfficient.numerics.continuations import STEPS, Continuation, how_many
from QEfficient.numerics.sentences import SENTENCES
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.pytorch_transforms.decoder import cache_name

if TYPE_CHECKING:
    from QEfficient.records import TextFacts
    from QEfficient.source.recipe import Recipe

CUT = 96
"""Tokens after which a built-in text is cut, so that it fits the shortest usual context."""
_ORDER = (0, 22, 8, 17, 6, 16, 20, 13, 2, 10, 21, 18)
"""The built-in texts that are gone on with, the first of them in any case: of several lengths, scripts and styles."""


def reference_continuations(
    recipe: Recipe, text: TextFacts, texts: Sequence[str] | None = None, longest: int = CUT
) -> list[Continuation]:
    """How HuggingFace's model goes on greedily, in float32.

    Args:
        recipe: Which model.
        text: Its text side.
        texts: What it goes on with; ``None``: built-in texts, or random ids where the model has no tokenizer.
        longest: Tokens after which a text is cut.
    """
    vocabulary = int(recipe.origin.config()["vocab_size"])
    return _continued(recipe, named_texts(recipe, text, texts, longest, vocabulary))


def named_texts(
    recipe: Recipe, text: TextFacts, texts: Sequence[str] | None, longest: int, vocabulary: int
) -> list[tuple[str, tuple[int, ...]]]:
    """Ids that a model reads, each with a name for errors.

    Args:
        recipe: Which model.
        text: Its text side.
        texts: As :func:`reference_continuations` has them.
        longest: Tokens after which a text is cut.
        vocabulary: Tokens that the model knows.
    """
    tokenizer = model_tokenizer(recipe, text)
    if texts is None:
        count = how_many(vocabulary)
        texts = [SENTENCES[number] for number in _ORDER[:count]]
        if tokenizer is None:
            return _random_prompts(vocabulary, min(count, len(_ORDER)))
    elif tokenizer is None:
        from QEfficient.numerics.samples import refuse_texts

        refuse_texts(texts, recipe.origin.name)
        return []
    rows = tokenizer.encode(texts, max_length=longest).rows.columns["input_ids"]
    return [
        (f"{one[:40]!r} ({len(row)} tokens)", tuple(int(token) for token in row))
        for one, row in zip(texts, rows, strict=True)
    ]


def _random_prompts(vocabulary: int, count: int) -> list[tuple[str, tuple[int, ...]]]:
    rng = np.random.default_rng(0)
    lengths = [(3, 40, 11, 24)[number % 4] for number in range(count)]
    return [
        (f"random ids ({length} tokens)", tuple(rng.integers(0, vocabulary, length).tolist())) for length in lengths
    ]


@isolated
def _continued(recipe: Recipe, prompts: Sequence[tuple[str, tuple[int, ...]]]) -> list[Continuation]:
    model: Any = exportable(recipe.origin.module())[0]
    found = []
    with torch.no_grad():
        for name, prompt in prompts:
            logits = greedy(model, prompt)
            tokens = tuple(logits.argmax(-1).tolist())
            found.append(Continuation(name, prompt, tokens, logits, loss=_loss(model, prompt)))
    return found


def _loss(model: Any, prompt: Sequence[int]) -> float:
    """The sum of −log p of a prompt's tokens from the second one on."""
    logits = model(input_ids=torch.tensor([list(prompt)]), use_cache=False).logits[0, :-1]
    wanted = torch.tensor(list(prompt[1:]), dtype=torch.long)  # of a prompt of one token there is none
    return float(torch.nn.functional.cross_entropy(logits.double(), wanted, reduction="sum"))


def greedy(
    model: Any, begun: Sequence[int], ids: str = "input_ids", **beside: Any
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The logits that each of :data:`STEPS` tokens is chosen from.

    Args:
        model: HuggingFace's.
        begun: What its decoder goes on from.
        ids: What it calls that.
        **beside: What else it takes at each step.
    """
    kept = cache_name(model)
    given: dict[str, Any] = {ids: torch.tensor([list(begun)])}
    rows = []
    for _ in range(STEPS):
        output = model(**beside, **given, use_cache=True)
        rows.append(output.logits[0, -1].float())
        given = {ids: rows[-1].argmax().reshape(1, 1), kept: output[kept]}
    return torch.stack(rows).numpy()
