"""ESM C: rotary positions."""

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(model_type="esmc", limit=rotary, default_pad_id=1)
