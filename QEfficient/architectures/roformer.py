"""RoFormer: rotary positions from a table."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(
    model_type="roformer", limit=partial(positions, default=1536), default_pad_id=0, default_types=2
)
