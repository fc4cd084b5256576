"""RoBERTa: as BERT, but positions are counted from pad id + 1 on."""

from __future__ import annotations

from dataclasses import replace

from QEfficient.architectures import bert
from QEfficient.architectures.record import positions_after_pad

ARCHITECTURE = replace(
    bert.ARCHITECTURE,
    model_type="roberta",
    limit=positions_after_pad,
    default_pad_id=1,
    blocks={"roberta.RobertaSelfAttention": "bert.FoldedSelfAttention"},
)
