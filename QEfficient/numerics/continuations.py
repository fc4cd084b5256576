"""How HuggingFace's model goes on with a text, token by token, and whether a program goes on likewise.

A program is given HuggingFace's tokens whatever it would have chosen itself, so that every step is compared under the
same past, and one near tie does not hide what comes behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from QEfficient.generation.decoder import Chunk, Decoder
from QEfficient.numerics.check import Comparison
from QEfficient.numerics.verify import Limits, Reference, Sample, Verification, verify
from QEfficient.records import DecoderFacts, Json, TensorSpec

FILE = "continuations.safetensors"
STEPS = 8
"""Tokens that are compared behind each prompt."""
MOST_BYTES = 16 * 2**20
"""Of the logits of all continuations that are kept: they are over the whole vocabulary."""
NEAR = 1e-3
"""HuggingFace's two best logits lie nearer than this: its choice is a matter of rounding."""

LOGITS = TensorSpec("logits", "float32", ("batch_size", "vocab_size"))

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Continuation:
    """A prompt, and how HuggingFace's model goes on greedily.

    Attributes:
        name: What the prompt is, for errors.
        prompt: Its ids; of a model with an encoder those that its decoder begins with.
        tokens: What follows, an end token like any other.
        logits: What each of them was chosen from, ``(tokens, vocabulary)``.
        source: Ids that its encoder reads.
        loss: The sum of −log p of the prompt's tokens from the second one on; ``None`` where nobody asked.
    """

    name: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logits: Floats
    source: tuple[int, ...] = ()
    loss: float | None = None

    @property
    def gaps(self) -> Floats:
        """How far the best logit of each step is ahead of the second."""
        best = np.sort(self.logits, axis=-1)[:, -2:]
        gaps: Floats = best[:, 1] - best[:, 0]
        return gaps


@dataclass(frozen=True, slots=True)
class TokenAgreement:
    """How many of HuggingFace's tokens a program chooses too, each behind HuggingFace's own past.

    Attributes:
        compared: Tokens.
        equal: Of them, those that are chosen too.
        near: Of the others, those where HuggingFace's two best logits lie within :data:`NEAR`.
        first: The first other one that is no such near tie, in words.
        before: Tokens that come before the first other one of each text: so far the texts would be the same.
    """

    compared: int
    equal: int
    near: int
    first: str | None = None
    before: int = 0

    @property
    def share(self) -> float:
        """Equal ones and near ties, of all."""
        return (self.equal + self.near) / self.compared if self.compared else 1.0


def how_many(vocabulary: int) -> int:
    """How many continuations of :data:`STEPS` tokens are kept."""
    return max(2, MOST_BYTES // (4 * STEPS * vocabulary))


def save(folder: Path, kept: Sequence[Continuation]) -> None:
    """Writes continuations into a folder."""
    arrays = {str(number): np.ascontiguousarray(one.logits) for number, one in enumerate(kept)}
    notes = [
        {"name": one.name, "prompt": one.prompt, "tokens": one.tokens, "source": one.source, "loss": one.loss}
        for one in kept
    ]
    save_file(arrays, folder / FILE, metadata={"continuations": json.dumps(notes)})


def load(folder: Path) -> list[Continuation]:
    """What :func:`save` wrote; none where it wrote nothing."""
    if not (folder / FILE).is_file():
        return []
    with safe_open(folder / FILE, framework="numpy") as file:
        notes = json.loads(file.metadata()["continuations"])
        return [
            Continuation(
                note["name"],
                tuple(note["prompt"]),
                tuple(note["tokens"]),
                file.get_tensor(str(number)),
                tuple(note["source"]),
                note.get("loss"),
            )
            for number, note in enumerate(notes)
        ]


def fitting(kept: Sequence[Continuation], facts: DecoderFacts) -> list[Continuation]:
    """What a program can go on with: steps beyond its room are left out, and prompts or sources that do not fit."""
    found = []
    for one in kept:
        steps = min(len(one.tokens), facts.room - len(one.prompt) + 1)  # the last token is chosen, and not written
        if steps > 0 and len(one.source) <= facts.source_room:
            found.append(replace(one, tokens=one.tokens[:steps], logits=one.logits[:steps]))
    return found


def compare(
    kept: Sequence[Continuation], decoder: Decoder, limits: Limits, name: str, where: str
) -> tuple[Verification, TokenAgreement]:
    """Lets a program read the prompts and go on with HuggingFace's tokens, and compares its logits.

    Args:
        kept: Prompts with HuggingFace's continuations; they fit.
        decoder: The program.
        limits: What must hold; nothing is raised where it does not.
        name: The model's.
        where: What the program is, in words.

    Raises:
        NumericsError: NaN or Inf in HuggingFace's logits.
    """
    got: dict[str, Floats] = {}
    for number, logits in enumerate(_forced(kept, decoder)):
        got[str(number)] = logits
    references: list[Reference] = [
        (Sample({"row": np.array([number])}, (one.name,)), {LOGITS.name: one.logits}) for number, one in enumerate(kept)
    ]

    def candidate(inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        return {LOGITS.name: got[str(int(inputs["row"][0]))]}

    result = verify(references, candidate, Comparison(name, (LOGITS,)), limits, where)
    tokens = _agreement(kept, [got[str(number)] for number in range(len(kept))])
    return replace(result, label_agreement=tokens.share), tokens


def to_json(result: Verification, tokens: TokenAgreement) -> dict[str, Json]:
    """For the manifest."""
    found: dict[str, Json] = {"compared": tokens.compared, "equal": tokens.equal, "near_ties": tokens.near}
    found |= {"first": tokens.first, "equal_before_first": tokens.before}
    return {"verify": "on", **result.to_json(), "tokens": found}


def _agreement(kept: Sequence[Continuation], got: Sequence[Floats]) -> TokenAgreement:
    compared = equal = near = before = 0
    first = None
    for one, logits in zip(kept, got, strict=True):
        chosen, gaps = logits.argmax(-1), one.gaps
        same = np.append(chosen == np.array(one.tokens), False)
        before += int(same.argmin())
        for step, (wanted, other) in enumerate(zip(one.tokens, chosen.tolist(), strict=True)):
            compared += 1
            if wanted == other:
                equal += 1
            elif gaps[step] < NEAR:
                near += 1
            elif first is None:
                first = f"{one.name}: token {step} is {other}, not {wanted}, which is ahead by {gaps[step]:.3g}"
    return TokenAgreement(compared, equal, near, first, before)


def _forced(kept: Sequence[Continuation], decoder: Decoder) -> Iterator[Floats]:
    """The logits behind each prompt and behind each of its tokens but the last, as many rows at once as go."""
    facts = decoder.facts
    rows = min(facts.decode_rows, facts.cache_slots)
    for start in range(0, len(kept), rows):
        wave = kept[start : start + rows]
        # from the last slot on, where slots are named: what is at the first one only would not be seen
        slots = [facts.cache_slots - 1 - row if facts.continuous else row for row in range(len(wave))]
        steps = [[logits] for logits in _prompts(wave, slots, decoder)]
        for step in range(1, max(len(one.tokens) for one in wave)):
            going = [row for row, one in enumerate(wave) if step < len(one.tokens)]
            chunks = [
                Chunk(slots[row], wave[row].tokens[step - 1 : step], len(wave[row].prompt) + step - 1) for row in going
            ]
            for row, logits in zip(going, decoder.decode(chunks), strict=True):
                steps[row].append(logits[-1])
        yield from (np.stack(one) for one in steps)


def _prompts(wave: Sequence[Continuation], slots: Sequence[int], decoder: Decoder) -> list[Floats]:
    """The logits behind each prompt, ``(vocabulary,)``."""
    found: dict[int, Floats] = {}
    width = decoder.facts.prefill_len
    for start in range(0, max(len(one.prompt) for one in wave), width):
        going = [row for row, one in enumerate(wave) if start < len(one.prompt)]
        chunks = [
            Chunk(slots[row], wave[row].prompt[start : start + width], start, () if start else wave[row].source)
            for row in going
        ]
        for row, logits in zip(going, decoder.prefill(chunks), strict=True):
            found[row] = logits
    return [found[row] for row in range(len(wave))]
