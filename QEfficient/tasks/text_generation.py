"""The task whose models write text: what goes into a decoder's graph and comes out, state and all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from QEfficient.records import (
    BATCH_DIM,
    BATCH_INDEX,
    INPUT_IDS,
    LENGTH_DIM,
    NUM_LOGITS_TO_KEEP,
    POSITION_IDS,
    RETAINED,
    Caches,
    LayerCache,
    TensorSpec,
)
from QEfficient.tasks.task import Task

CTX_DIM, SLOTS_DIM, WINDOW_DIM = "ctx_len", "full_batch_size", "sliding_window"


@dataclass(frozen=True, slots=True)
class TextGeneration(Task):
    """A decoder with the head that scores the next token."""

    reads_texts: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class DecoderForm:
    """Which of a decoder's graphs.

    Attributes:
        continuous: Rows name the slots of their caches (``batch_index``), the last of which takes dropped writes; else
            row n has cache n, whose last position takes them.
        keeps_logits: The graph has the input ``num_logits_to_keep``, whose length says of how many last positions there
            are logits; else there are those of the last one.
    """

    continuous: bool = True
    keeps_logits: bool = False

    def inputs(self, caches: Caches) -> tuple[TensorSpec, ...]:
        """The graph's inputs, in order: tokens first, then the state layer by layer."""
        rows = [TensorSpec(name, "int64", (BATCH_DIM, LENGTH_DIM)) for name in (INPUT_IDS, POSITION_IDS)]
        if self.continuous:
            rows.append(TensorSpec(BATCH_INDEX, "int64", (BATCH_DIM, 1)))
        if self.keeps_logits:
            rows.append(TensorSpec(NUM_LOGITS_TO_KEEP, "int64", (NUM_LOGITS_TO_KEEP, 1)))
        return (*rows, *self._states(caches, ""))

    def outputs(self, caches: Caches) -> tuple[TensorSpec, ...]:
        """The graph's outputs, in order: the logits, then the state as it is afterwards."""
        logits = TensorSpec(
            "logits", "float32", (BATCH_DIM, NUM_LOGITS_TO_KEEP if self.keeps_logits else 1, "vocab_size")
        )
        return (logits, *self._states(caches, RETAINED))

    def _states(self, caches: Caches, suffix: str) -> list[TensorSpec]:
        return [
            TensorSpec(f"past_{kind}.{number}{suffix}", "float32", self._shape(cache))
            for number, cache in enumerate(caches)
            for kind in ("key", "value")
        ]

    def _shape(self, cache: LayerCache) -> tuple[int | str, ...]:
        rows, positions = SLOTS_DIM if self.continuous else BATCH_DIM, WINDOW_DIM if cache.ring else CTX_DIM
        return (rows, cache.kv_heads, positions, cache.head_dim)
