"""GTE: BERT with rotary positions."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(model_type="gte", limit=partial(rotary, default=8192), default_pad_id=1, default_types=1)
