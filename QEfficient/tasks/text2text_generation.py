"""The task whose models write text about a source: what goes into a graph of encoder and decoder, and comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from QEfficient.records import (
    BATCH_DIM,
    BATCH_INDEX,
    INPUT_IDS,
    LENGTH_DIM,
    POSITION_IDS,
    RETAINED,
    SOURCE,
    SOURCE_DIM,
    SOURCE_MASK,
    Caches,
    TensorSpec,
)
from QEfficient.tasks.task import Task
from QEfficient.tasks.text_generation import SLOTS_DIM

SOURCE_CTX_DIM, OWN_CTX_DIM = "encoder_ctx_len", "decoder_ctx_len"
"""Lengths of the caches, by the vendor's names."""


@dataclass(frozen=True, slots=True)
class Text2Text(Task):
    """An encoder with a decoder, whose head scores the next token."""

    reads_texts: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class SourceForm:
    """Which graph of such a model.

    Attributes:
        continuous: As ``tasks.text_generation.DecoderForm`` has it, of the cross caches too.
    """

    continuous: bool = True

    def inputs(self, caches: Caches) -> tuple[TensorSpec, ...]:
        """The graph's inputs, in order: the source, tokens, then the state layer by layer."""
        source = TensorSpec(SOURCE, "int64", (BATCH_DIM, SOURCE_DIM))
        rows = [TensorSpec(name, "int64", (BATCH_DIM, LENGTH_DIM)) for name in (INPUT_IDS, POSITION_IDS)]
        if self.continuous:
            rows.append(TensorSpec(BATCH_INDEX, "int64", (BATCH_DIM, 1)))
        return (source, *rows, *self._states(caches, ""))

    def outputs(self, caches: Caches) -> tuple[TensorSpec, ...]:
        """The graph's outputs, in order: the logits, then the state as it is afterwards."""
        logits = TensorSpec("logits", "float32", (BATCH_DIM, 1, "vocab_size"))
        return (logits, *self._states(caches, RETAINED))

    def _states(self, caches: Caches, suffix: str) -> list[TensorSpec]:
        rows = SLOTS_DIM if self.continuous else BATCH_DIM
        found = [
            TensorSpec(
                f"past_{kind}_{of}.{number}{suffix}", "float32", (rows, cache.kv_heads, positions, cache.head_dim)
            )
            for number, cache in enumerate(caches)
            for of, positions in (("self", OWN_CTX_DIM), ("cross", SOURCE_CTX_DIM))
            for kind in ("key", "value")
        ]
        return [*found, TensorSpec(SOURCE_MASK + suffix, "float32", (rows, 1, SOURCE_CTX_DIM, 1))]
