"""ModernBERT: rotary positions, local attention in most layers."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(model_type="modernbert", limit=partial(rotary, default=8192), default_pad_id=50283)
