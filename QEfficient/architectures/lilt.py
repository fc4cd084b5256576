"""LiLT on text alone: positions as RoBERTa's; without boxes transformers puts every token at (0, 0)."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions_after_pad

ARCHITECTURE = Architecture(
    model_type="lilt", limit=partial(positions_after_pad, default_pad_id=0), default_pad_id=0, default_types=2
)
