"""EuroBERT: Llama's layers, read in both directions."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(model_type="eurobert", limit=partial(rotary, default=8192), default_pad_id=128001)
