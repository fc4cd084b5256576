"""XGLM: a table of sines as positions."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="xglm", limit=partial(positions, default=2048), default_pad_id=1)
