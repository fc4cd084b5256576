"""The text half of TIPS v2: 64 positions."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="tipsv2_text_model", limit=partial(positions, default=64), default_pad_id=0)
