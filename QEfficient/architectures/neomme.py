"""NeoMME on text alone: rotary positions, local attention in most layers."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(
    model_type="neomme",
    limit=partial(rotary, default=16384),
    default_pad_id=0,
    left_out={"pixel_values": "a program of it reads text alone"},
)
