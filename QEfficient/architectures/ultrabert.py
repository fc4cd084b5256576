"""UltraBERT: rotary positions, local attention in most layers."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(model_type="ultrabert", limit=partial(rotary, default=32768), default_pad_id=0)
