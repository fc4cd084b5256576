"""A decoder whose rows are one flat sequence, and whose caches are blocks: what its graph and its session agree on."""

from __future__ import annotations

PAGED_DOMAIN, PAGED_ATTENTION = "qefficient", "PagedAttention"
"""The operator of its attention, which the session's runtime is taught (``backends.openvino_paged``)."""

BLOCK = 32
"""Positions of a block; no other number is known to OpenVINO's operator."""

LOGIT_ROWS = "logit_rows"
"""Input of the graph: at which of the call's tokens there are logits, ``(tokens asked,)``."""

PAST_LENS, SEQUENCE_BEGINS, BLOCKS, BLOCK_BEGINS, LONGEST = PAGED_INPUTS = (
    "past_lens",
    "subsequence_begins",
    "block_indices",
    "block_indices_begins",
    "max_context_len",
)
"""Inputs of every operator, int32: of each row the positions before it, ``(rows,)``; where its tokens begin, and where
the last one's end, ``(rows + 1,)``; all rows' blocks, ``(blocks,)``; where each row's begin in these, ``(rows + 1,)``;
the longest row with what is before it, a scalar."""
