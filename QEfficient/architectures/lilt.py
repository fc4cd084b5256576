"""LiLT: positions as RoBERTa's, a box for every token; without boxes transformers puts all at (0, 0)."""

from functools import partial

from QEfficient.architectures.record import Architecture, boxes, positions_after_pad

ARCHITECTURE = Architecture(
    model_type="lilt",
    limit=partial(positions_after_pad, default_pad_id=0),
    default_pad_id=0,
    more=boxes,
)
