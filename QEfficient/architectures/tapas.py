"""TAPAS on text alone: without its seven token types a table's rows and columns are not known."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="tapas", limit=partial(positions, default=1024), default_pad_id=0)
