"""What ``generate`` gives back: the vendor's record for prompts, HuggingFace's for ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PerfMetrics:
    """How long a call took.

    Attributes:
        prefill_time: Seconds from the call to the first token.
        decode_perf: Tokens a second behind the first ones, over ``batch_size`` of the record.
        total_perf: Tokens a second of the whole call, likewise.
        total_time: Seconds of the whole call.
        drafted: Tokens that were drafted ahead (``prompt_lookup_num_tokens``) and run.
        accepted: Those of them that were what was chosen.
    """

    prefill_time: float
    decode_perf: float
    total_perf: float
    total_time: float
    drafted: int = 0
    accepted: int = 0

    @classmethod
    def measured(cls, first: float, total: float, tokens: int, started: int, batch_size: int) -> PerfMetrics:
        """Of two times and two counts.

        Args:
            first: Seconds to the first token.
            total: Seconds to the last.
            tokens: New tokens of all sequences.
            started: Sequences that have a token: their first ones are no decode steps.
            batch_size: Rows that the rates are divided by.
        """
        later, decoding = tokens - started, total - first
        decode = later / decoding / batch_size if later > 0 and decoding > 0 else 0.0
        return cls(first, decode, tokens / total / batch_size if total > 0 else 0.0, total)


@dataclass(frozen=True, slots=True, repr=False)
class CloudAI100ExecInfo:
    """What ``generate(tokenizer, prompts)`` gives.

    Attributes:
        batch_size: Rows that were compiled; 1 with continuous batching.
        generated_texts: One text a prompt, without what ended it: a list with continuous batching, else a list a batch.
        generated_ids: New ids, ``(prompts, width)`` int64, filled up with the pad id: an array, else a list of one a
            batch. ``width`` is ``generation_len``, or the longest answer where that is left out.
        perf_metrics: How long it took.
    """

    batch_size: int
    generated_texts: list[str] | list[list[str]]
    generated_ids: NDArray[np.int64] | list[NDArray[np.int64]]
    perf_metrics: PerfMetrics

    def __repr__(self) -> str:
        found = self.perf_metrics
        return (
            f"Average Prefill time a.k.a TTFT is= {found.prefill_time:.2f} sec\n"
            f"Decode is= {found.decode_perf * self.batch_size:.2f} tokens/sec\n"
            f"Total is= {found.total_perf * self.batch_size:.2f} tokens/sec\n"
            f"Total (E2E) inference time is= {found.total_time:.2f} sec"
        )


@dataclass(frozen=True, slots=True)
class GenerationOutput:
    """What ``generate(input_ids, return_dict_in_generate=True)`` gives where no tensors came in.

    It has the fields of transformers' ``GenerateDecoderOnlyOutput`` and ``GenerateBeamDecoderOnlyOutput``, as numpy
    arrays, and is read by name in the same three ways: ``out.sequences``, ``out["sequences"]``, ``out.keys()``.

    Attributes:
        sequences: Prompts and answers, ``(sequences, length)`` int64.
        sequences_scores: Scores of beams, ``(sequences,)``.
        scores: For each step the processed logits, ``(sequences, vocabulary)``; 0 behind a sequence's end.
        logits: For each step the raw ones.
        beam_indices: For each new token, the row of the step before it that it went on from, filled up with −1.
    """

    sequences: NDArray[np.int64]
    sequences_scores: NDArray[np.float32] | None = None
    scores: tuple[NDArray[np.float32], ...] | None = field(default=None, repr=False)
    logits: tuple[NDArray[np.float32], ...] | None = field(default=None, repr=False)
    beam_indices: NDArray[np.int64] | None = None

    def keys(self) -> list[str]:
        """Names of the fields that are there."""
        return [name for name in self.__slots__ if getattr(self, name) is not None]

    def items(self) -> list[tuple[str, Any]]:
        """Names and values of the fields that are there."""
        return [(name, getattr(self, name)) for name in self.keys()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __getitem__(self, name: str | int) -> Any:
        if isinstance(name, int):
            return self.items()[name][1]
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)
